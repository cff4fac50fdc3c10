"""Latency as a line through two measured networks, where a table of layers has no place.

    predicted(plan) = t(whole) − b · (M(whole) − M(plan))
    b = (t(whole) − t(half)) / (M(whole) − M(half))

t     milliseconds of the exported file
M     multiply-accumulates of one forward pass of the example
half  the network without half of every group's channels; which ones makes no difference to t

A streaming form owns folded copies of the layers that are trained and calls them in another way,
so their own times would say little. Both ends are real files; between them a frame takes a time
for its operators, whatever their widths, and a time for its products.                         [C]
"""

import copy
from collections.abc import Callable

import torch
from torch import nn

from compress import patterns, prune
from compress.costs.base import Subject
from compress.costs.macs import Macs
from compress.prune import Plan, Scored


class Line:
    """Predicts milliseconds, given those of the whole network and a way to measure another."""

    def __init__(
        self, subject: Subject, whole: float, latency: Callable[[nn.Module], float]
    ) -> None:
        self._macs = Macs(subject)
        plan = halved(subject)
        half = latency(prune.remove(copy.deepcopy(subject.net), subject.example, plan))
        most, least = self._macs.predicted(subject.groups), self._macs.predicted(plan)
        # never rising as channels go, also where what they save is less than the clock's error;
        # level where no group can be halved
        self._slope = max(0.0, whole - half) / (most - least) if most > least else 0.0
        self._whole, self._most = whole, most

    def predicted(self, plan: Plan) -> float:
        """Milliseconds of what a plan leaves."""
        return self._whole - self._slope * (self._most - self._macs.predicted(plan))


def halved(subject: Subject) -> Plan:
    """The plan that takes the first half of every group, but one channel of each portion."""
    found = prune.whole_groups(subject.net, subject.example, subject.groups)
    cuts = []
    for cut, group in zip(subject.groups.cuts, found, strict=True):
        portions = frozenset(own for _, own in patterns.portions(group._DG, group, cut.channels))
        scored = Scored(cut.layer, cut.members, torch.arange(cut.channels), portions)
        cuts.append(scored.cut(cut.channels - cut.channels // 2))
    return Plan(cuts=tuple(cuts))
