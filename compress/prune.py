"""What can be pruned: every group of channels that may go, with its scores.

What a plan is, and how it is masked and removed: compress/plans.py. That both compute the same:
compress/trials.py, to 1e-5 before anything is removed.
"""

import traceback
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
import torch_pruning as tp
from torch import Tensor, nn

from compress import patterns, tracing, unfollowed
from compress.criteria import CRITERIA
from compress.criteria.base import Group, Statistics
from compress.passes import Example
from compress.plans import Cut, Plan, Scored, mask, one_slope, remove, whole_groups
from compress.refused import RefusedError, together
from compress.statistics import Calibration
from compress.tracing import BROKEN, ROOTS, copied
from compress.trials import AGREEMENT, difference, proven, refusals, trial
from device.errors import BadInputError, FieldwrenError

__all__ = [
    "AGREEMENT",
    "BROKEN",
    "ROOTS",
    "Cut",
    "Plan",
    "Scored",
    "copied",
    "difference",
    "layers",
    "mask",
    "one_slope",
    "proven",
    "refusals",
    "remove",
    "score_groups",
    "untouched",
    "whole_groups",
]


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
        BadInputError: `head` holds no layers.
        FieldwrenError: a group's channels cannot be removed, or its scores are no numbers.
    """
    whole = layers(head)
    graph = tracing.traced(net, example)
    found, refused = tracing.groups(graph, whole)
    groups = []
    for joined in found:
        try:
            unfollowed.refuse(graph, joined)
            for group in patterns.segments(graph, joined, ROOTS):
                groups.append((group, _unscored(graph, group)))
                _try(net, example, *groups[-1])
        except RefusedError as refusal:
            refused.append(refusal)
    if refused:
        raise together(refused)
    statistics = Statistics(seed=seed, calibration=calibration)
    scored = []
    for group, unscored in groups:
        try:
            scores = _scores(net, example, group, unscored, criterion, statistics)
            scored.append(replace(unscored, scores=scores))
        except RefusedError as refusal:
            refused.append(refusal)
    if refused:
        raise together(refused)
    return scored


def untouched(scored: Iterable[Scored]) -> Plan:
    """The plan that names every group and removes nothing."""
    return Plan(
        cuts=tuple(
            Cut(layer=group.layer, channels=len(group.scores), removed=(), members=group.members)
            for group in scored
        )
    )


def layers(head: Sequence[nn.Module]) -> list[nn.Module]:
    """What `head` names, and all inside it.

    Raises:
        BadInputError: these are no layers.
    """
    try:
        return [part for layer in head for part in layer.modules()]
    except (TypeError, AttributeError) as error:
        raise BadInputError(
            f"head: a list of layers is expected, as [net.fc], not {head!r:.60}; names go into keep"
        ) from error


def _unscored(graph: tp.DependencyGraph, group: Group) -> Scored:
    """A group with zeros for scores."""
    patterns.removable(graph, group)
    channels = len(group[0].idxs)
    size = channels // patterns.parts(group, channels)
    portions = frozenset(own for _, own in patterns.portions(graph, group, size))
    return Scored(_root(group), tuple(_members(graph, group)), torch.zeros(size), portions)


def _scores(
    net: nn.Module,
    example: Example,
    group: Group,
    unscored: Scored,
    criterion: str,
    statistics: Statistics,
) -> Tensor:
    """A criterion's scores [channels], of which each is the mean over a group's parts.

    Raises:
        RefusedError: the criterion has none for this group.
        FieldwrenError: there is no data, or the scores are no numbers.
    """
    try:
        scores = CRITERIA[criterion](group, statistics)
    except (FieldwrenError, *BROKEN) as broken:  # what does not fit may be found out here first
        if isinstance(broken, FieldwrenError) and statistics.calibration is None:
            raise  # there is no data
        if len(unscored.scores) > 1 and (refusal := trial(net, example, unscored.sample())):
            raise refusal from broken
        if isinstance(broken, FieldwrenError) or _of_data(broken):
            raise
        reason = f"{criterion} cannot score them ({tracing.said(broken)})"
        raise RefusedError(unscored.layer, reason) from broken
    if not scores.isfinite().all():
        raise FieldwrenError(
            f"{unscored.layer}: its scores by {criterion} are not all numbers: weights of its "
            "group, or inputs or losses of the calibration, are NaN or infinite"
        )
    return scores.view(-1, len(unscored.scores)).mean(0)


def _of_data(error: BaseException) -> bool:
    """Whether an error came up while the network was run on data: the loss, or a batch is wrong."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code is Calibration.once.__code__ for frame, _ in frames)


def _try(net: nn.Module, example: Example, group: Group, unscored: Scored) -> None:
    """Take a few channels of a group with doubtful members away and compare.

    Raises:
        RefusedError: the network does not run without them, or computes something else.
    """
    suspects = patterns.delicate(group)
    if not suspects or len(unscored.scores) < 2:
        return
    if refusal := trial(net, example, unscored.sample(), suspects):
        raise refusal


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
