"""Sizes counted on the graph are those that removal leaves."""

import copy

import pytest
import torch
from torch import Tensor, nn

from compress import count, prune
from compress.sizes import Size, Sizes
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
    plan = _removing(net, x, head, 0.4)
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
