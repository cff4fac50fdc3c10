"""Gates that are all 0 or 1: the network is already what removal makes of it."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress import allocation, infcp, prune
from compress.stages import infcp as stage
from models.tcn_bands import BandTCN
from tests.compress import channel_gates, graphs, patterns


class PreActivation(nn.Module):
    """A residual block whose norms read the stream that the sum reads as it is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.one = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1)
        self.between, self.two = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(F.relu(self.before(x)))
        return x + self.two(F.relu(self.between(y)))


class RawShortcut(nn.Module):
    """A norm and a 1 × 1 shortcut read the same convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.main = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.main(F.relu(self.norm(x))) + self.shortcut(x))


def _bare(*body: nn.Module) -> nn.Module:
    """Behind a stem without norm."""
    return graphs.Sequence(nn.Conv2d(3, 16, 3, padding=1), *body, features=16)


BARE: dict[str, Callable[[], nn.Module]] = {
    "pre-activation": lambda: _bare(PreActivation(16), PreActivation(16)),
    "shortcut from the raw stem": lambda: _bare(RawShortcut(16)),
}
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **graphs.GRAPHS,
    **{name: lambda make=make: make(16) for name, make in patterns.SMALL.items()},
    **BARE,
}


def _shut(net: nn.Module, x: Tensor, *head: nn.Module) -> infcp.Gates:
    """Half of every group's channels, here and there, at 0 and the others at 1."""
    step = channel_gates.step()
    budget = allocation.make_plan(net, x, head, stage.counts(step), 0)
    gates = infcp.Gates(net, x, budget, step, 10)
    generator = torch.Generator().manual_seed(1)
    for gate in gates.gates:
        gate.mean.copy_(torch.rand(gate.size, generator=generator))
        gate.shut(1.0)
    return gates


def _check(net: nn.Module, x: Tensor, *head: nn.Module) -> None:
    gates = _shut(net, x, *head)
    with torch.no_grad():
        shut = net(x)
        gates.fold()
        removed = prune.remove(copy.deepcopy(net), x, gates.plan())(x)
    assert gates.gates and all(gate.kept < gate.size for gate in gates.gates)
    assert torch.allclose(shut, removed, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_shut_gates_are_removal(name: str) -> None:
    torch.manual_seed(0)
    net = patterns.shaken(NETWORKS[name]())
    _check(net, channel_gates.picture(), net.get_submodule("classifier"))


def test_shut_gates_are_removal_in_networks_of_sound() -> None:
    torch.manual_seed(0)
    net = patterns.shaken(patterns.tcn(16))
    _check(net, torch.rand(2, 33, 20), net.get_submodule("leave"))
    net = patterns.shaken(BandTCN(channels=16, hidden=24, dilations=(1, 2), lookahead=1))
    whole = ["leave", "windows", "skip"]  # and what joins the blocks, as in the recipe's keep
    whole += [f"blocks.{i}.{name}" for i in range(2) for name in ("squeeze", "take", "unmix")]
    _check(net, torch.rand(2, 257, 30), *(net.get_submodule(name) for name in whole))


def test_what_only_norms_read_is_gated_behind_them_alone() -> None:
    """They would undo a gate before them."""
    net = patterns.shaken(graphs.make("residual"))
    gates = channel_gates.gates(net, channel_gates.step())
    gated = {member.layer for gate in gates.gates for member in gate.gated}
    assert gated and all(isinstance(layer, nn.BatchNorm2d) for layer in gated)


def test_what_nothing_reads_is_gated_itself() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    cut = prune.Cut(layer="2", channels=8, removed=(0,), members=("2",))
    plan = prune.Plan(cuts=(cut,))
    gates = infcp.Gates(net, channel_gates.picture(), plan, channel_gates.step(), 10)
    assert [member.layer for member in gates.gates[0].gated] == [net[2]]
