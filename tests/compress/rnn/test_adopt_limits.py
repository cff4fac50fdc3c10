"""Recurrent layers that share weights, or compute in another way than torch's: kept or refused."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from compress import count
from compress.rnn.adopt import adopt, recurrent
from device.errors import FieldwrenError
from models.recurrent import Recurrent
from tests.compress.rnn.test_adopt import Holder, Sequence, inputs


class Pair(nn.Module):
    """Two layers one behind the other."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.second(self.first(x)[0])[0]
        return answer


def share(one: nn.Module, other: nn.Module, *names: str, memory: bool = False) -> None:
    for name in names or [name for name, _ in one.named_parameters()]:
        own = one.get_parameter(name)
        setattr(other, name, nn.Parameter(own.data) if memory else own)


@torch.no_grad()
@pytest.mark.parametrize("memory", [True, False])
def test_layers_that_share_all_their_weights_become_one(memory: bool) -> None:
    torch.manual_seed(0)
    net = Pair(nn.GRU(5, 5), nn.GRU(5, 5)).double()
    share(net.first, net.second, memory=memory)
    expected, held = net(inputs().double()), count.parameters(net)
    adopt(net)
    assert list(recurrent(net)) == ["first.layers.0"] and net.first is net.second
    assert count.parameters(net) == held - 10  # one bias where torch has two, but for d
    assert (net.eval()(inputs().double()) - expected).abs().max() < 1e-12


def some() -> Pair:
    net = Pair(nn.LSTM(5, 5), nn.LSTM(5, 5))
    share(net.first, net.second, "weight_hh_l0")
    return net


def turned() -> Pair:
    net = Pair(nn.LSTM(5, 5), nn.LSTM(5, 5, batch_first=True))
    share(net.first, net.second)
    return net


def inside() -> Holder:
    net = Holder(nn.LSTM(5, 5, num_layers=2))
    net.rnn.weight_hh_l1 = net.rnn.weight_hh_l0
    return net


def outside() -> Pair:
    net = Pair(nn.Linear(5, 20), nn.LSTM(5, 5))
    net.second.weight_ih_l0 = net.first.weight
    return net


@pytest.mark.parametrize(
    ("net", "names"),
    [
        (some(), "first.weight_hh_l0 and second.weight_hh_l0 are one"),
        (turned(), "first.weight_ih_l0 and second.weight_ih_l0 are one"),
        (inside(), "rnn.weight_hh_l0 and rnn.weight_hh_l1 are one"),
        (outside(), "first.weight and second.weight_ih_l0 are one"),
    ],
)
def test_layers_that_share_some_of_their_weights_are_refused(net: nn.Module, names: str) -> None:
    with pytest.raises(FieldwrenError, match=names):
        adopt(net)


class Own(nn.LSTM):
    def forward(self, x: Tensor, hx: object = None) -> object:  # type: ignore[override]
        return super().forward(2 * x)


class Named(nn.LSTM):
    """Of another name only."""


def patched() -> nn.LSTM:
    made = nn.LSTM(5, 8)
    made.forward = lambda x: nn.LSTM.forward(made, 2 * x)  # type: ignore[method-assign]
    return made


@pytest.mark.parametrize("rnn", [lambda: Own(5, 8), patched])
def test_what_computes_in_its_own_way_is_refused(rnn: object) -> None:
    with pytest.raises(FieldwrenError, match=r"rnn: .* has a forward of its own"):
        adopt(Holder(rnn()))  # type: ignore[operator]
    assert list(recurrent(adopt(Holder(Named(5, 8))))) == ["rnn.layers.0"]


@pytest.mark.parametrize(
    "register",
    [
        "register_forward_pre_hook",
        "register_forward_hook",
        "register_full_backward_pre_hook",
        "register_full_backward_hook",
    ],
)
@pytest.mark.parametrize("rnn", [lambda: nn.LSTM(5, 8), lambda: nn.GRUCell(5, 8)])
def test_hooks_are_refused_not_lost(rnn: object, register: str) -> None:
    net = Holder(rnn())  # type: ignore[operator]
    handle = getattr(net.rnn, register)(lambda *_: None)
    with pytest.raises(FieldwrenError, match="rnn: has hooks"):
        adopt(net)
    handle.remove()
    assert recurrent(adopt(net))


@pytest.mark.parametrize("register", ["register_hook", "register_post_accumulate_grad_hook"])
@pytest.mark.parametrize("rnn", [lambda: nn.LSTM(5, 8), lambda: nn.GRUCell(5, 8)])
def test_hooks_of_parameters_are_refused_not_lost(rnn: object, register: str) -> None:
    """A mask on a gradient, or an optimizer that steps in the backward pass."""
    net = Holder(rnn())  # type: ignore[operator]
    name = next(name for name, _ in net.rnn.named_parameters() if name.startswith("bias_hh"))
    handle = getattr(net.rnn.get_parameter(name), register)(lambda _: None)
    with pytest.raises(FieldwrenError, match=f"rnn: {name} has hooks"):
        adopt(net)
    assert not recurrent_layers(net)
    handle.remove()
    assert recurrent(adopt(net))


def recurrent_layers(net: nn.Module) -> list[nn.Module]:
    return [part for part in net.modules() if isinstance(part, Recurrent)]


def orthogonal() -> nn.Module:
    rnn = nn.LSTM(5, 8)
    parametrizations.orthogonal(rnn, "weight_hh_l0")
    return rnn


@pytest.mark.parametrize(
    "rnn",
    [
        lambda: nn.utils.weight_norm(nn.LSTM(5, 8), "weight_hh_l0"),
        orthogonal,
        lambda: prune.l1_unstructured(nn.LSTM(5, 8), "weight_hh_l0", 0.5),
    ],
)
def test_weights_that_are_made_of_others_are_refused(rnn: object) -> None:
    net = Pair(nn.LSTM(5, 5), rnn())  # type: ignore[operator]
    with pytest.raises(FieldwrenError, match="second: weight_hh_l0 is made of other parameters"):
        adopt(net)
    assert isinstance(net.first, nn.LSTM)  # nothing was replaced yet
    if isinstance(net.second, nn.Module) and parametrize.is_parametrized(net.second):
        parametrize.remove_parametrizations(net.second, "weight_hh_l0")
        assert len(recurrent(adopt(net))) == 2


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (Sequence(nn.LSTM, bidirectional=True), "rnn: bidirectional"),
        (Sequence(nn.LSTM, proj_size=4), "rnn: proj_size"),
        (nn.Sequential(nn.RNN(5, 8)), "0: RNN is neither"),
        (nn.LSTM(5, 8), "bare recurrent layer"),
    ],
)
def test_what_cannot_be_taken_over_is_refused_by_name(net: nn.Module, reason: str) -> None:
    with pytest.raises(FieldwrenError, match=reason):
        adopt(net)


def test_a_network_without_recurrence_is_refused() -> None:
    with pytest.raises(FieldwrenError, match="no LSTM or GRU"):
        recurrent(nn.Sequential(nn.Linear(2, 2)))
