"""What a channel plan leaves of every layer, counted on the dependency graph without removing.

A search tries thousands of plans; removing each from a copy and running that takes seconds. The
graph says once whose channels stand on which side of which layer. From then on

    inputs' = inputs − channels removed on the reading side          outputs' alike
    share   = inputs'/inputs · outputs'/outputs                      convolutions, linear layers
    share   = outputs'/outputs                                       depthwise ones, norms

`share` is what is left of a layer's multiply-accumulates and of its weights; exactly, not nearly.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_pruning.dependency.node import Node

from compress import count, prune
from compress.criteria.base import Group
from compress.criteria.members import CONSUMERS
from compress.passes import Example, first, inputs


@dataclass(frozen=True)
class Size:
    """Channels that a layer reads and writes."""

    inputs: int
    outputs: int


@dataclass(frozen=True)
class Layer:
    """A layer that plans can touch, or a bare parameter, as it is before pruning."""

    name: str
    module: nn.Module | nn.Parameter
    size: Size
    channelwise: bool  # output c is made from input c alone
    macs: int  # of one forward pass
    shape: tuple[int, ...]  # of the input it was last called with, empty if it was not

    def share(self, size: Size) -> float:
        """What is left of its multiply-accumulates, and of its weights."""
        outputs = size.outputs / self.size.outputs
        return outputs if self.channelwise else outputs * size.inputs / self.size.inputs


@dataclass(frozen=True)
class _Side:
    layer: str
    reads: bool
    entries: NDArray[np.int64]  # [channels of the group]: how many of the layer's go with each


class Sizes:
    """Sizes of all layers for any plan that has the same groups.

    Args:
        net: the network that the plans are for; it is run once and left as it was.
        example: an input of one example.
        groups: a plan whose cuts are the groups; what they remove does not matter.
    """

    def __init__(self, net: nn.Module, example: Example, groups: prune.Plan) -> None:
        found = prune.whole_groups(net, example, groups)
        self._sides: dict[str, list[_Side]] = {}
        touched: dict[str, Node] = {}
        for cut, group in zip(groups.cuts, found, strict=True):
            self._sides[cut.layer] = list(_sides(group, cut.channels))
            touched |= {_name(item): item.dep.target for item in group if _holds(item)}
        macs, shapes = _run(net, example)
        self.layers = {
            name: Layer(name, node.module, *_size(node), macs.get(name, 0), shapes.get(name, ()))
            for name, node in touched.items()
        }

    def after(self, plan: prune.Plan) -> Mapping[str, Size]:
        """What the plan leaves, by the layer's name."""
        gone = {name: [0, 0] for name in self.layers}
        for cut in plan.cuts:
            removed = list(cut.removed)
            for side in self._sides[cut.layer] if removed else ():
                gone[side.layer][side.reads] += int(side.entries[removed].sum())
        sizes = {}
        for name, layer in self.layers.items():
            outputs = layer.size.outputs - gone[name][False]
            inputs = outputs if layer.channelwise else layer.size.inputs - gone[name][True]
            sizes[name] = Size(inputs, outputs)
        return sizes


def _holds(item: Group) -> bool:
    """Whether a member of a group has weights for each channel, and is no mere operation."""
    module = item.dep.target.module
    if prune.one_slope(module):
        return False
    return isinstance(module, nn.Parameter) or bool(list(module.parameters(recurse=False)))


def _name(item: Group) -> str:
    return str(item.dep.target.name).split(" ")[0]


def _sides(group: Group, channels: int) -> Iterable[_Side]:
    for item in group:
        if _holds(item):
            entries = np.bincount(np.asarray(item.root_idxs) % channels, minlength=channels)
            yield _Side(_name(item), item.dep.handler in CONSUMERS, entries)


def _size(node: Node) -> tuple[Size, bool]:
    """Channels of a layer, and whether it is channelwise."""
    module = node.module
    if isinstance(module, nn.modules.conv._ConvNd):
        size = Size(module.in_channels, module.out_channels)
        return size, module.groups == module.in_channels > 1
    if isinstance(module, nn.Linear):
        return Size(module.in_features, module.out_features), False
    if isinstance(module, nn.Parameter):
        channels = module.shape[node.pruning_dim]
    else:
        channels = max(len(values) for values in module.parameters(recurse=False))
    return Size(channels, channels), True


def _run(net: nn.Module, example: Example) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """Multiply-accumulates and input shapes of the layers in one forward pass."""
    macs: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    before: dict[str, int] = {}

    def enter(name: str, x: Tensor) -> None:
        before[name] = int(counter.get_total_flops())
        shapes[name] = tuple(x.shape)

    def leave(name: str) -> None:
        macs[name] = macs.get(name, 0) + (int(counter.get_total_flops()) - before[name]) // 2

    handles = []
    for name, module in net.named_modules():
        if isinstance(module, prune.ROOTS):
            handles += [
                module.register_forward_pre_hook(
                    lambda _, x, named, name=name: enter(name, first(x, named)), with_kwargs=True
                ),
                module.register_forward_hook(lambda *_, name=name: leave(name)),
            ]
    try:
        with count.counting(net) as counter:
            net(*inputs(example))
    finally:
        for handle in handles:
            handle.remove()
    return macs, shapes
