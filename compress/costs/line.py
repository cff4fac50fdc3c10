"""Latency as a line through two measured networks, where a table of layers has no place.

    predicted(plan) = t(whole) − b · (M(whole) − M(plan))
    b = (t(whole) − t(half)) / (M(whole) − M(half))

t     milliseconds of the exported file
M     multiply-accumulates of one forward pass of the example
half  the network without half of every group's channels; which ones makes no difference to t

A streaming form owns folded copies of the layers that are trained and calls them in another way,
so their own times would say little. Both ends are real files, timed in turns, ROUNDS times; between
them a frame takes a time for its operators, whatever their widths, and a time for its products.
Where t(half) is not below t(whole) by more than the clock's own spread there is no line: a search
that is paid for milliseconds would be paid nothing, or chance.                                [C]
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compress import patterns, prune
from compress.costs.base import Subject
from compress.costs.macs import Macs
from compress.prune import Plan, Scored
from device.errors import FieldwrenError

Array = NDArray[np.float64]


class Line:
    """Predicts milliseconds, given a way to time networks in turns: least of each round [2, n]."""

    def __init__(self, subject: Subject, timed: Callable[[nn.Module, nn.Module], Array]) -> None:
        self._macs = Macs(subject)
        plan = halved(subject)
        half = prune.remove(copy.deepcopy(subject.net), subject.example, plan)
        rounds = timed(subject.net, half)
        self._whole, self._half = (float(times.min()) for times in rounds)
        # how far above its floor a round usually stays: what chance may add to either time
        self._spread = float((np.median(rounds, 1) - rounds.min(1)).max())
        self._most, least = self._macs.predicted(subject.groups), self._macs.predicted(plan)
        saved, gone = self._whole - self._half, self._most - least
        self._slope = saved / gone if gone > 0 and saved > self._spread else None

    @property
    def sure(self) -> bool:
        """Do the two times tell what channels save?"""
        return self._slope is not None

    def predicted(self, plan: Plan) -> float:
        """Milliseconds of what a plan leaves.

        Raises:
            FieldwrenError: it takes something, and what that saves is not to be told from chance.
        """
        gone = self._most - self._macs.predicted(plan)
        if gone <= 0:
            return self._whole
        if self._slope is None:
            raise FieldwrenError(
                f"milliseconds: {self._whole:.4g} with all channels, {self._half:.4g} with half of "
                f"each group's, and the clock is sure of {self._spread:.2g}: it cannot tell what "
                "channels save: try again with nothing else running, or take macs or parameters"
            )
        return self._whole - self._slope * gone


def halved(subject: Subject) -> Plan:
    """The plan that takes the first half of every group, but one channel of each portion."""
    found = prune.whole_groups(subject.net, subject.example, subject.groups)
    cuts = []
    for cut, group in zip(subject.groups.cuts, found, strict=True):
        portions = frozenset(own for _, own in patterns.portions(group._DG, group, cut.channels))
        scored = Scored(cut.layer, cut.members, torch.arange(cut.channels), portions)
        cuts.append(scored.cut(cut.channels - cut.channels // 2))
    return Plan(cuts=tuple(cuts))
