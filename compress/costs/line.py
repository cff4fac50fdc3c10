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

from torch import nn

from compress import prune
from compress.costs.base import Subject
from compress.costs.macs import Macs
from compress.prune import Cut, Plan


class Line:
    """Predicts milliseconds, given those of the whole network and a way to measure another."""

    def __init__(
        self, subject: Subject, whole: float, latency: Callable[[nn.Module], float]
    ) -> None:
        self._macs = Macs(subject)
        plan = halved(subject.groups)
        half = latency(prune.remove(copy.deepcopy(subject.net), subject.example, plan))
        most, least = self._macs.predicted(subject.groups), self._macs.predicted(plan)
        # never rising as channels go, also where what they save is less than the clock's error
        self._slope = max(0.0, whole - half) / (most - least)
        self._whole, self._most = whole, most

    def predicted(self, plan: Plan) -> float:
        """Milliseconds of what a plan leaves."""
        return self._whole - self._slope * (self._most - self._macs.predicted(plan))


def halved(groups: Plan) -> Plan:
    """The plan that takes the first half of every group."""
    return Plan(
        cuts=tuple(
            Cut(**{**cut.model_dump(), "removed": tuple(range(cut.channels // 2))})
            for cut in groups.cuts
        )
    )
