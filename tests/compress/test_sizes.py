"""Sizes counted on the graph are those that removal leaves."""

import copy

import pytest
import torch
from torch import Tensor, nn

from compress import allocation, count, prune
from compress.sizes import Size, Sizes
from compress.steps import Prune
from tests.compress import patterns


def _removing(net: nn.Module, x: Tensor, head: nn.Module, share: float) -> prune.Plan:
    """A plan that takes other channels, and another share, from every group."""
    generator = torch.Generator().manual_seed(3)
    cuts = []
    for index, group in enumerate(prune.score_groups(net, x, [head], "random", 0)):
        channels = len(group.scores)
        gone = round(channels * share) if index % 3 else channels - 1
        removed = torch.randperm(channels, generator=generator)[:gone].sort().values
        cuts.append(
            prune.Cut(
                layer=group.layer,
                channels=channels,
                removed=tuple(removed.tolist()),
                members=group.members,
            )
        )
    return prune.Plan(cuts=tuple(cuts))


def _check(net: nn.Module, x: Tensor, head: nn.Module) -> None:
    _check_plan(net, x, _removing(net, x, head, 0.4))


def _check_plan(net: nn.Module, x: Tensor, plan: prune.Plan) -> None:
    sizes = Sizes(net, x, plan)
    after = sizes.after(plan)
    removed = prune.remove(copy.deepcopy(net), x, plan)
    layers = dict(removed.named_modules())
    for name, size in after.items():
        layer = layers.get(name)
        if isinstance(layer, nn.modules.conv._ConvNd):
            assert size == Size(layer.in_channels, layer.out_channels), name
        elif isinstance(layer, nn.Linear):
            assert size == Size(layer.in_features, layer.out_features), name
    lost = sum(layer.macs * (1 - layer.share(after[name])) for name, layer in sizes.layers.items())
    assert count.macs(net, x) - lost == pytest.approx(count.macs(removed, x), rel=1e-9)


@pytest.mark.parametrize("name", patterns.SMALL)
def test_sizes_are_those_after_removal(name: str) -> None:
    torch.manual_seed(0)
    net = patterns.shaken(patterns.SMALL[name](16))
    _check(net, torch.randn(1, 3, 16, 16), net.get_submodule("classifier"))


def test_sizes_of_the_tcn_are_those_after_removal() -> None:
    torch.manual_seed(0)
    net = patterns.shaken(patterns.tcn(16))
    _check(net, torch.rand(1, 33, 20), net.get_submodule("leave"))


class Attending(nn.Module):
    """Words that attend to each other after what a learned state has made of them."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.start = nn.LSTM(6, 8, batch_first=True), nn.Parameter(torch.ones(1, 1, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 24, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        state = self.start.expand(1, len(x), 8)
        y: Tensor = self.head(self.body(self.rnn(x, (state, state))[0]).mean(1))
        return y


def test_sizes_beside_attention_are_those_after_removal() -> None:
    net = Attending().eval()
    step = Prune(kind="prune", criterion="l1", macs=0.75, round_to=1)
    x = torch.randn(1, 10, 6)
    plan = allocation.make_plan(net, x, [net.rnn, net.head], step, 0)
    assert [cut.layer for cut in plan.cuts] == ["body.layers.1.linear1", "body.layers.0.linear1"]
    removed = prune.remove(copy.deepcopy(net), x, plan)
    assert count.macs(removed, x) <= 0.75 * count.macs(net, x)
    _check_plan(net, x, plan)
