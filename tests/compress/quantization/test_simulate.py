"""A simulated network: folded norms change nothing, rounded weights learn all the same."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.quantization import fake, simulate
from compress.quantization.simulate import Simulation
from compress.rnn.adopt import adopt
from device.errors import FieldwrenError
from models.projections import Map
from models.tcn import TCN
from tests.compress import graphs


def _input() -> Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def _plain(net: nn.Module) -> Simulation:
    return Simulation(simulate.trace(net), frozenset(), {}, {})


@pytest.mark.parametrize("name", list(graphs.GRAPHS))
def test_folding_changes_nothing(name: str) -> None:
    net = graphs.make(name)
    with torch.no_grad():
        expected = net(_input())
        simulation = _plain(net)
        assert simulation.norms  # something was folded
        net.train()  # statistics stay those of the trained network
        with simulation.active(net):
            got = net(_input())
        net.eval()
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(net(_input()), expected)  # and is itself again


def test_folding_a_temporal_network_changes_nothing() -> None:
    torch.manual_seed(0)
    net = TCN(12, 12, residual=8, hidden=16, dilations=(1, 2))
    x = torch.rand(3, 12, 20)
    net(x)  # statistics that are not the identity
    net.eval()
    with torch.no_grad():
        expected = net(x)
        with _plain(net).active(net):
            torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-5)


class _Twice(nn.Module):
    """One convolution before two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.conv(F.relu(self.first(self.conv(x)))))
        return y


def _norms(**options: bool) -> nn.Module:
    """A norm that folds, and one that has no layer before it."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, **options), nn.ReLU(), nn.BatchNorm2d(4, **options)
    )


@pytest.mark.parametrize(
    ("net", "folded"),
    [
        (_Twice(), 0),
        (_norms(), 1),
        (_norms(affine=False), 1),
        (_norms(track_running_stats=False), 0),
    ],
)
def test_a_norm_is_that_of_evaluation_whether_it_folds_or_not(net: nn.Module, folded: int) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        expected = net.eval()(_input())
        simulation = _plain(net.train())
        assert len(simulation.norms) == folded
        with simulation.active(net):
            torch.testing.assert_close(net(_input()), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net.eval()(_input()), expected)  # nor did statistics move


def test_a_layer_is_rounded_alike_with_or_without_the_norm_behind_it() -> None:
    """So one that two norms follow need not be folded with either."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    nn.init.uniform_(net[1].weight, -2, 2)
    net[1].running_var.uniform_(0.5, 2)
    simulation = Simulation(simulate.trace(net), frozenset({"0"}), {}, {})
    with torch.no_grad():
        with simulation.active(net):
            folded = net(_input())
        net[0].weight.copy_(fake.weight(net[0].weight))
        torch.testing.assert_close(folded, net(_input()), rtol=1e-4, atol=1e-5)


def test_gradients_of_a_folded_quantized_layer() -> None:
    """Against the same written out: w·γ/σ rounded, with the straight-through estimator."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=True), nn.BatchNorm2d(4), nn.ReLU())
    net[1].running_mean.uniform_(-1, 1)
    net[1].running_var.uniform_(0.5, 2)
    nn.init.uniform_(net[1].weight, 0.5, 2)
    oracle = copy.deepcopy(net)
    x = _input()
    simulation = Simulation(simulate.trace(net), frozenset({"0"}), {}, {})
    with simulation.active(net):
        net(x).square().sum().backward()

    conv, norm = oracle[0], oracle[1]
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    w = conv.weight * scale[:, None, None, None]
    s = w.detach().abs().amax((1, 2, 3), keepdim=True) / 127
    rounded = w + (torch.clamp(torch.round(w.detach() / s), -127, 127) * s - w.detach())
    bias = norm.bias + (conv.bias - norm.running_mean) * scale
    F.relu(F.conv2d(x, rounded, bias)).square().sum().backward()
    for got, expected in zip(net.parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-4, atol=1e-3)


def test_what_a_layer_reads_and_what_a_node_gives_are_rounded() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 3), nn.ReLU())
    x = torch.randn(4, 5)
    low, high = torch.tensor(0.0), torch.tensor(1.0)
    simulation = Simulation(
        simulate.trace(net),
        frozenset({"0"}),
        {"_1": lambda value: fake.activation(value, low, high)},
        {"0": lambda value: fake.dynamic(value, (-1,))},
    )
    with simulation.active(net), torch.no_grad():
        got = net(x)
    w = fake.weight(net[0].weight.detach())
    expected = fake.activation(F.relu(F.linear(fake.dynamic(x, (-1,)), w, net[0].bias)), low, high)
    torch.testing.assert_close(got, expected.detach())


class _Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory, self.out = nn.LSTM(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.memory(x)[0])
        return y


class _Named(nn.Module):
    """A matrix by a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.kernel)


@pytest.mark.parametrize(
    ("net", "layer"),
    [
        (_Sequence(), "memory"),
        (nn.Sequential(_Named(), nn.Linear(3, 2)), "0"),
        (adopt(_Sequence()), r"memory\.layers\.0"),
        (Map(4, 2), "x"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 2)), "1"),
    ],
)
def test_weights_that_would_stay_float_are_refused_by_name(net: nn.Module, layer: str) -> None:
    with pytest.raises(FieldwrenError, match=f"^{layer}: quantization-aware training knows"):
        simulate.trace(net)


def test_a_graph_that_depends_on_values_is_refused_by_name() -> None:
    class Fickle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(FieldwrenError, match="Fickle cannot be trained with quantization"):
        simulate.trace(Fickle())
