"""Channel plans: which channels go, as masks (to try) and as physical removal (to deploy).

torch_pruning's dependency graph knows which layers must lose the same channels: a convolution,
its batch norm, the layers it feeds, and everything joined to it by residual sums. A plan names
each such group by its root layer, so it can be stored as JSON and applied to a fresh network.
Masked and removed networks compute the same function (`proven` to 1e-5 before anything is removed),
provided a zero channel stays zero until the next convolution or matrix, as with ReLU and BN.

Where channels must go from equal parts of a tensor alike (compress/patterns.py), "channel" means a
position in all parts: counts and rounding then hold in every part.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch_pruning as tp
from pydantic import model_validator
from torch import Tensor, nn
from torch_pruning.dependency.node import Node

from compress import patterns
from compress.criteria import CRITERIA
from compress.criteria.base import Group, Statistics
from compress.passes import Example, answers, exact, inputs
from compress.resting import differentiable
from compress.statistics import Calibration
from device.errors import FieldwrenError
from device.manifest import Frozen

ROOTS = (nn.modules.conv._ConvNd, nn.Linear)
AGREEMENT = 1e-5  # largest |masked − removed| over the outputs


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


def score_groups(
    net: nn.Module,
    example: Example,
    head: Sequence[nn.Module],
    criterion: str,
    seed: int,
    calibration: Calibration | None = None,
) -> list[Scored]:
    """Score every prunable group of `net`; groups that hold a layer of `head` are left out.

    `head` may name layers, or blocks of them. `calibration` is of the same `net`; criteria that
    look at weights alone do without.

    Raises:
        FieldwrenError: a group's channels cannot be removed.
    """
    graph = _graph(net, example)
    statistics = Statistics(seed=seed, calibration=calibration)
    found = []
    whole = [part for layer in head for part in layer.modules()]
    groups = graph.get_all_groups(ignored_layers=whole, root_module_types=ROOTS)
    for group in (part for joined in groups for part in patterns.segments(graph, joined, ROOTS)):
        scores = CRITERIA[criterion](group, statistics)
        scores = scores.view(patterns.parts(group, len(scores)), -1).mean(0)
        portions = frozenset(own for _, own in patterns.portions(graph, group, len(scores)))
        found.append(Scored(_root(group), tuple(_members(graph, group)), scores, portions))
        if patterns.delicate(group) and len(scores) > 1:
            _try(net, example, group, found[-1])
    return found


def untouched(scored: Iterable[Scored]) -> Plan:
    """The plan that names every group and removes nothing."""
    return Plan(
        cuts=tuple(
            Cut(layer=group.layer, channels=len(group.scores), removed=(), members=group.members)
            for group in scored
        )
    )


def mask(net: nn.Module, example: Example, plan: Plan) -> nn.Module:
    """Zero the plan's channels in place: the same function as after removal, the old shapes."""
    graph = _graph(net, example)
    with torch.no_grad():
        for group in _groups(graph, net, plan):
            for dependency, indices in group:
                if not graph.is_out_channel_pruning_fn(dependency.handler):
                    continue
                for parameter in _own_parameters(dependency.target):
                    parameter[indices] = 0
    return net


def remove(net: nn.Module, example: Example, plan: Plan) -> nn.Module:
    """Cut the plan's channels out of `net`, in place; returns it."""
    graph = _graph(net, example)
    for cut in plan.cuts:
        if not cut.removed:
            continue
        for group in _groups(graph, net, Plan(cuts=(cut,))):
            group.prune()
    return net


def whole_groups(net: nn.Module, example: Example, plan: Plan) -> list[Group]:
    """torch_pruning's group of every cut, with all its channels."""
    graph = _graph(net, example)
    return [_whole(graph, net, cut) for cut in plan.cuts]


def difference(net: nn.Module, example: Example, plan: Plan) -> float:
    """Largest |masked − removed| over the outputs, computed in float64 on a real input."""
    example = exact(example)
    removed = copy.deepcopy(net).double().eval()
    masked = mask(copy.deepcopy(removed), example, plan)
    remove(removed, example, plan)
    with torch.no_grad():
        one, other = (answers(net(*inputs(example))) for net in (masked, removed))
        errors = [(a - b).abs().max().double() for a, b in zip(one, other, strict=True)]
    return float(torch.stack(errors).max())  # Python's own max passes over what is not a number


def proven(net: nn.Module, example: Example, plan: Plan) -> float:
    """Largest |masked − removed|, where that is as good as nothing.

    Raises:
        FieldwrenError: it is not; the groups at fault are named.
    """
    error = difference(net, example, plan)
    if error <= AGREEMENT:
        return error
    alone = (Plan(cuts=(cut,)) for cut in plan.cuts if cut.removed)
    wrong = [one.cuts[0].layer for one in alone if not difference(net, example, one) <= AGREEMENT]
    names = ", ".join(f'"{layer}"' for layer in wrong)
    raise FieldwrenError(
        f"masked and pruned networks differ by {error:.2g}, allowed {AGREEMENT:.0e}: "
        + (
            f"a zero channel of {names} is no zero in the next convolution; keep = [{names}] "
            "leaves them whole"
            if wrong
            else "a zero channel is no zero in the next convolution where several groups meet"
        )
    )


def one_slope(module: nn.Module) -> bool:
    """Whether a layer's only weight is of all channels together: nothing of it goes with one."""
    return isinstance(module, nn.PReLU) and module.num_parameters == 1


def _graph(net: nn.Module, example: Example) -> tp.DependencyGraph:
    def forward(net: nn.Module, example: Example) -> list[Tensor]:
        return [one for one in answers(net(*inputs(example))) if one.grad_fn is not None]

    with differentiable(net):  # the graph is traced through autograd
        graph = tp.DependencyGraph().build_dependency(net, example, forward, verbose=False)
    return patterns.checked(graph)


def _whole(graph: tp.DependencyGraph, net: nn.Module, cut: Cut) -> Group:
    root = dict(net.named_modules()).get(cut.layer)
    if not isinstance(root, ROOTS) or root not in graph.module2node:
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
        groups.append(graph.get_pruning_group(root, handler, removed))
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


def _try(net: nn.Module, example: Example, group: Group, scored: Scored) -> None:
    """Take one channel of a group away and compare.

    Raises:
        FieldwrenError: the network does not run without it, or computes something else.
    """
    channels = len(scored.scores)
    one = next((c for c in range(channels) if frozenset((c,)) not in scored.portions), 0)
    cut = Cut(layer=scored.layer, channels=channels, removed=(one,), members=scored.members)
    names = ", ".join(patterns.delicate(group))
    try:
        error = difference(net, example, Plan(cuts=(cut,)))
    except (RuntimeError, ValueError, IndexError, AssertionError) as broken:
        raise patterns.refusal(group, f"{names} would no longer fit") from broken
    if not error <= AGREEMENT:
        raise patterns.refusal(group, f"{names} would compute something else")


def _root(group: Group) -> str:
    return str(group[0].dep.target.name).split(" ")[0]


def _members(graph: tp.DependencyGraph, group: Group) -> list[str]:
    """Layers that produce the group's channels."""
    return [
        str(dependency.target.name).split(" ")[0]
        for dependency, _ in group
        if graph.is_out_channel_pruning_fn(dependency.handler)
        and isinstance(dependency.target.module, ROOTS)
    ]
