"""Blocks that answer one channel twice: what a plan says goes, in both places, and no more."""

import copy

import pytest
import torch
from torch import Tensor, nn

from compress import allocation, patterns, prune
from compress.compact import BLOCKS
from compress.steps import Prune
from device.errors import FieldwrenError
from models.layers import conv_norm
from models.resnet import ResNet
from tests.compress import patterns as small
from tests.compress import real


def _step(**changes: object) -> Prune:
    return Prune.model_validate({"kind": "prune", "criterion": "l1", "round_to": 1, **changes})


def _ghosts(blocks: tuple[int, ...] = (0,), size: float = 2.0) -> ResNet:
    """Residual blocks whose last convolution makes half of its channels from the others."""
    torch.manual_seed(0)
    net = ResNet(8, 10)
    for block in blocks:
        pair = net.get_submodule(f"blocks.{block}.second")
        pair.conv = BLOCKS["ghost"].build(pair.get_submodule("conv"), size)  # type: ignore[arg-type]
    return small.shaken(net)  # type: ignore[return-value]


@pytest.mark.parametrize(("ratio", "kept"), [(0.25, 6), (0.4, 5), (0.5, 4)])
def test_a_plan_takes_both_and_says_so(ratio: float, kept: int) -> None:
    net, x = _ghosts(), real.photos(16)
    plan = allocation.make_plan(net, x, [net.classifier], _step(ratio=ratio), 0)
    cut = next(cut for cut in plan.cuts if cut.layer == "stem.conv")
    assert (cut.channels, cut.kept) == (8, kept)
    stays = [c for c in range(16) if c % 8 not in cut.removed]
    expected = net.get_parameter("stem.conv.weight")[stays].detach().clone()
    masked = prune.mask(copy.deepcopy(net), x, plan)
    removed = prune.remove(net, x, plan)
    assert torch.equal(removed.get_parameter("stem.conv.weight"), expected)
    ghost = removed.get_submodule("blocks.0.second.conv")
    assert ghost.get_submodule("primary.conv").out_channels == kept
    assert ghost.get_submodule("cheap.conv").groups == kept
    with torch.no_grad():
        assert torch.allclose(masked(x), removed(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("blocks", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_a_budget_predicts_what_is_measured(blocks: tuple[int, ...], scope: str) -> None:
    net, x = _ghosts(blocks), real.photos(16)
    decision = allocation.decide(net, x, [net.classifier], _step(macs=0.8, scope=scope), 0)
    spent = decision.spent
    assert spent.predicted == pytest.approx(spent.measured)
    assert 0.7 * spent.whole < spent.measured <= spent.allowed
    assert prune.difference(net, x, decision.plan) < 1e-10
    halves = {cut.channels for cut in decision.plan.cuts if len(cut.members) > 1}
    assert halves == {8 * 2**block if block in blocks else 16 * 2**block for block in range(3)}


class Product(nn.Module):
    """Two portions, of sizes that follow a layer, are multiplied."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spread, self.norm = conv_norm(width, 2 * width, 3), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.spread(x)
        value, gate = torch.split(y, [y.shape[1] // 2] * 2, 1)
        z: Tensor = self.norm(value * torch.sigmoid(gate))
        return z


def test_portions_that_are_multiplied_go_together() -> None:
    torch.manual_seed(0)
    net, x = small.shaken(small.Answer(8, Product(8), 8)), real.photos(16)
    plan = allocation.make_plan(
        net, x, [net.get_submodule("classifier")], _step(ratio=0.25, criterion="random"), 0
    )
    cut = next(cut for cut in plan.cuts if cut.layer == "body.spread.conv")
    assert (cut.channels, cut.kept) == (8, 6)
    assert prune.remove(net, x, plan).get_submodule("body.spread.conv").out_channels == 12


class Partly(nn.Module):
    """A residual block that answers one of two portions twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.apart = width // 3
        self.make = conv_norm(width, 2 * self.apart)
        self.each = nn.Conv2d(self.apart, self.apart, 3, padding=1, groups=self.apart)

    def forward(self, x: Tensor) -> Tensor:
        y = self.make(x)
        size = self.each.in_channels
        left, right = torch.split(y, [size, y.shape[1] - size], 1)
        return torch.cat((left, right, self.each(left)), 1) + x


def test_what_goes_together_without_equal_parts_is_refused_by_name() -> None:
    torch.manual_seed(0)
    net, x = small.shaken(small.Answer(12, Partly(12), 12)), real.photos(16)
    head = [net.get_submodule("classifier")]
    with pytest.raises(FieldwrenError, match=r"not at the same place .*keep = \[.*.stem\.conv.\]"):
        allocation.make_plan(net, x, head, _step(ratio=0.25), 0)


def test_channels_with_three_ghosts_are_refused_by_name() -> None:
    net, x = _ghosts(size=4.0), real.photos(16)
    with pytest.raises(FieldwrenError, match=r'channels cannot be removed.*keep = \["') as caught:
        allocation.make_plan(net, x, [net.classifier], _step(ratio=0.25), 0)
    assert str(caught.value).endswith('keep = ["stem.conv"] leaves them whole')
    step = _step(ratio=0.25, keep=("stem.conv",))
    assert allocation.make_plan(net, x, [net.classifier], step, 0).cuts


def test_what_nobody_asked_for_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = _ghosts(), real.photos(16)
    monkeypatch.setattr(patterns, "coupled", lambda _, channels: list(range(channels)))
    cut = prune.Cut(layer="stem.conv", channels=16, removed=(1, 9, 10), members=())
    for use in (prune.mask, prune.remove):
        with pytest.raises(FieldwrenError, match=r'^stem\.conv: .* 4 where 3 .*keep = \["stem'):
            use(copy.deepcopy(net), x, prune.Plan(cuts=(cut,)))
