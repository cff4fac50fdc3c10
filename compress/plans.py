"""Channel plans: which channels go, as masks (to try) and as physical removal (to deploy).

torch_pruning's dependency graph knows which layers must lose the same channels: a convolution,
its batch norm, the layers it feeds, and everything joined to it by residual sums. A plan names
each such group by its root layer, so it can be stored as JSON and applied to a fresh network.

Where channels must go from equal parts of a tensor alike (compress/patterns.py), "channel" means a
position in all parts: counts and rounding then hold in every part.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch_pruning as tp
from pydantic import model_validator
from torch import Tensor, nn
from torch_pruning.dependency.node import Node

from compress import patterns, tracing
from compress.criteria.base import Group
from compress.passes import Example
from compress.refused import RefusedError
from device.errors import FieldwrenError
from device.manifest import Frozen

SAMPLE = 3  # channels that a trial takes away


class Cut(Frozen):
    """One group: its root layer, the channels it had, those that go, and the layers that follow."""

    layer: str
    channels: int
    removed: tuple[int, ...]
    members: tuple[str, ...]

    @model_validator(mode="after")
    def _possible(self) -> Self:
        removed = set(self.removed)
        if len(removed) < len(self.removed) or not removed < set(range(self.channels)):
            raise ValueError(
                f"{self.layer}: of its channels 0 to {self.channels - 1} each may go once, and one "
                "must stay"
            )
        return self

    @property
    def kept(self) -> int:
        """Channels that stay."""
        return self.channels - len(self.removed)


class Plan(Frozen):
    """Every group that one pruning step could touch, also those that lost nothing."""

    cuts: tuple[Cut, ...]


@dataclass(frozen=True)
class Scored:
    """A group before the decision."""

    layer: str
    members: tuple[str, ...]
    scores: Tensor  # [channels]
    portions: frozenset[frozenset[int]] = frozenset()  # channels that are all that some layer has

    def sample(self) -> Cut:
        """Take a few channels away, to see whether that can be.

        Not only the first: what moves channels, as padding does, may leave that one in its place.
        """
        channels, gone = len(self.scores), set[int]()
        for channel in (0, channels // 2, channels - 1, *range(channels)):
            whole = any(portion <= gone | {channel} for portion in self.portions)
            if len(gone) < min(SAMPLE, channels - 1) and not whole:
                gone.add(channel)
        removed = tuple(sorted(gone or {0}))
        return Cut(layer=self.layer, channels=channels, removed=removed, members=self.members)

    def cut(self, kept: int) -> Cut:
        """Keep so many of the highest scores, and the highest of a portion that were left empty."""
        order = self.scores.argsort(stable=True).tolist()
        best = {max(portion, key=order.index) for portion in self.portions}
        removed = [channel for channel in order if channel not in best][: len(order) - kept]
        return Cut(
            layer=self.layer,
            channels=len(order),
            removed=tuple(sorted(removed)),
            members=self.members,
        )


def mask(net: nn.Module, example: Example, plan: Plan) -> nn.Module:
    """Zero the plan's channels in place: the same function as after removal, the old shapes."""
    graph = tracing.traced(net, example)
    with torch.no_grad():
        for group in _groups(graph, net, plan):
            for dependency, indices in group:
                if not graph.is_out_channel_pruning_fn(dependency.handler):
                    continue
                for parameter in _own_parameters(dependency.target):
                    parameter[indices] = 0
    return net


def remove(net: nn.Module, example: Example, plan: Plan) -> nn.Module:
    """Cut the plan's channels out of `net`, in place; returns it. What is frozen stays so."""
    graph = tracing.traced(net, example)
    learns = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    for cut in plan.cuts:
        if not cut.removed:
            continue
        for group in _groups(graph, net, Plan(cuts=(cut,))):
            group.prune()
    for name, parameter in net.named_parameters():  # torch_pruning makes new ones
        parameter.requires_grad_(learns.get(name, True))
    return net


def whole_groups(net: nn.Module, example: Example, plan: Plan) -> list[Group]:
    """torch_pruning's group of every cut, with all its channels."""
    graph = tracing.traced(net, example)
    found = [_whole(graph, net, cut) for cut in plan.cuts]
    for cut, group in zip(plan.cuts, found, strict=True):
        if cut.removed:
            patterns.removable(graph, group)
    return found


def one_slope(module: nn.Module) -> bool:
    """Whether a layer's only weight is of all channels together: nothing of it goes with one."""
    return isinstance(module, nn.PReLU) and module.num_parameters == 1


def _whole(graph: tp.DependencyGraph, net: nn.Module, cut: Cut) -> Group:
    root = dict(net.named_modules()).get(cut.layer)
    if not isinstance(root, tracing.ROOTS) or root not in graph.module2node:
        raise FieldwrenError(f"the channel plan is for another network: no layer {cut.layer} here")
    pruner = graph.get_pruner_of_module(root)
    every = list(range(pruner.get_out_channels(root)))
    return graph.get_pruning_group(root, pruner.prune_out_channels, every)


def _groups(graph: tp.DependencyGraph, net: nn.Module, plan: Plan) -> list[Group]:
    groups = []
    for cut in plan.cuts:
        if not cut.removed:
            continue
        whole = _whole(graph, net, cut)
        patterns.removable(graph, whole)
        channels = len(whole[0].idxs)
        count = patterns.parts(whole, channels)
        if channels != count * cut.channels:
            raise FieldwrenError(
                f"the channel plan is for another network: {cut.layer} has {channels // count} "
                f"channels here, {cut.channels} there"
            )
        for layer, portion in patterns.portions(graph, whole, cut.channels):
            if portion <= set(cut.removed):
                raise FieldwrenError(
                    f"{cut.layer}: the channel plan leaves {layer} no channel, one must stay"
                )
        root, handler = whole[0].dep.target.module, whole[0].dep.handler
        removed = patterns.spread(cut.removed, cut.channels, count)
        group = graph.get_pruning_group(root, handler, removed)
        if sorted(group[0].idxs) != sorted(removed):  # never what nobody asked for
            raise RefusedError(
                cut.layer,
                f"torch_pruning takes {len(group[0].idxs)} where {len(removed)} are to go",
            )
        groups.append(group)
    return groups


def _own_parameters(node: Node) -> list[Tensor]:
    """What a member makes its channels of, the pruned axis first."""
    target = node.module
    if one_slope(target):
        return []
    if isinstance(target, nn.Parameter):
        return [target.data.movedim(node.pruning_dim, 0)]
    if isinstance(target, nn.modules.batchnorm._BatchNorm) and not target.affine:
        # without scale and shift, what makes a zero channel another constant is its mean
        return [] if target.running_mean is None else [target.running_mean]
    own = [parameter.data for parameter in target.parameters(recurse=False)]
    if isinstance(target, nn.modules.conv._ConvTransposeNd) and target.groups == 1:
        return [values.transpose(0, 1) if values.ndim > 1 else values for values in own]
    return own
