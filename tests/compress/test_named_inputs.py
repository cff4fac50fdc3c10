"""A layer may be called with its input by name: whatever listens to layers hears the same."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress import allocation, capture, prune, repair
from compress.costs import table
from compress.quantization import simulate
from compress.quantization.simulate import Simulation
from compress.sizes import Sizes
from compress.statistics import Calibration
from compress.steps import Prune
from compress.task import Batch, Deployed
from compress.tasks.birds import Deploy
from device.manifest import ImageInput


class Called(nn.Module):
    """conv → norm → conv → linear, each called by `call`."""

    def __init__(self, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call
        self.one, self.norm = nn.Conv2d(3, 12, 3, bias=False), nn.BatchNorm2d(12)
        self.two, self.head = nn.Conv2d(12, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.call(self.norm, self.call(self.one, x)))
        return self.call(self.head, F.relu(self.call(self.two, y)).mean((2, 3)))


def _by_place(layer: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = layer(x)
    return y


def _by_name(layer: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = layer(input=x)
    return y


X = torch.randn(6, 3, 10, 10, generator=torch.Generator().manual_seed(1))
BATCHES: list[Batch] = [(X, torch.arange(6) % 4), (X.flip(3), torch.arange(6) % 4)]


def _loss(net: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(net(batch[0]), batch[1])


def _plan(net: Called) -> prune.Plan:
    step = Prune(kind="prune", criterion="l1", ratio=0.5, round_to=1)
    return allocation.make_plan(net, X[:1], [net.head], step, 0)


def _captured(net: Called) -> Any:
    return capture.inputs(net, ["one", "two", "head"], lambda: net(X))


def _sizes(net: Called) -> Any:
    layers = Sizes(net, X[:1], _plan(net)).layers
    return {name: (layer.macs, layer.shape) for name, layer in layers.items()}


def _measured(net: Called) -> Any:
    found = Calibration(net, _loss, BATCHES).forward(lambda layer, x, y: x.square().sum())
    return [float(value) for value in found.values()]


def _repaired(net: Called) -> Any:
    plan = _plan(net)
    pruned = prune.remove(copy.deepcopy(net), X[:1], plan)
    repair.repair(pruned, net, X[:1], plan, _loss, BATCHES)
    return pruned(X)


def _simulated(net: Called) -> Any:
    graph = simulate.trace(net)
    layers = frozenset({"one", "two", "head"})
    simulation = Simulation(graph, layers, {}, {name: lambda x: 2 * x for name in layers})
    with simulation.active(net):
        return net(X)


def _shapes(net: Called) -> Any:
    deployed = Deployed(
        net=Deploy(net).eval(),
        inputs={"image": ""},
        outputs={"logits": ""},
        states=(),
        preprocessing=ImageInput(height=10, width=10, mean=(0, 0, 0), std=(1, 1, 1)),
        examples=[{"image": X[:1].permute(0, 2, 3, 1).contiguous().numpy()}],
    )
    return table._shapes(net, deployed)


@pytest.mark.parametrize(
    "heard",
    [_captured, _sizes, _measured, _repaired, _simulated, _shapes],
    ids=lambda f: f.__name__,
)
def test_inputs_by_name_are_heard_as_those_by_place(heard: Callable[[Called], Any]) -> None:
    torch.manual_seed(0)
    net = Called(_by_place).eval()
    twin = Called(_by_name).eval()
    twin.load_state_dict(net.state_dict())
    with torch.set_grad_enabled(heard in (_sizes, _repaired)):
        torch.testing.assert_close(heard(twin), heard(net))
