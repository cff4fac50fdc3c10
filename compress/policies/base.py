"""The shape every ratio policy has: scores of groups and a budget in, a channel plan out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from compress.figures import Figure
from compress.prune import Cut, Plan, Scored
from device.errors import FieldwrenError

TINY = 1e-9  # of a channel: what 1 − max_ratio is off by is no channel to keep
STEPS = 24  # bisections of a family of plans: its parameter is then known to 1e-7


@dataclass(frozen=True)
class Problem:
    """What is to be decided: how many channels each group keeps. Which ones, the scores say.

    Attributes:
        key: the budget's key in the recipe, for messages.
        ratio: share of channels to remove, where that is the target; the cost is then channels.
        budget: largest cost allowed, in the cost's unit.
        cost: of what a plan leaves.
        loss: of the network under a plan's masks, on fixed training images in evaluation mode.
        cuts: those made so far, by group and count.
    """

    groups: tuple[Scored, ...]
    max_ratio: float
    round_to: int
    key: str
    ratio: float | None
    budget: float
    cost: Callable[[Plan], float]
    loss: Callable[[Plan], float]
    cuts: dict[tuple[int, int], Cut] = field(default_factory=dict, repr=False)

    def plan(self, kept: Sequence[int]) -> Plan:
        """Keep so many of the highest scores of every group."""
        cuts = []
        for index, (group, count) in enumerate(zip(self.groups, kept, strict=True)):
            if (index, count) not in self.cuts:  # a walk asks for the same ones again and again
                self.cuts[index, count] = group.cut(count)
            cuts.append(self.cuts[index, count])
        return Plan(cuts=tuple(cuts))

    def whole(self) -> list[int]:
        """Every group's channels."""
        return [len(group.scores) for group in self.groups]

    def least(self, channels: int) -> int:
        """The smallest count that a group of so many channels may keep."""
        return self.rounded(channels, 0)

    def rounded(self, channels: int, wanted: int) -> int:
        """The nearest count that the group may keep."""
        return rounded(channels, wanted, self.max_ratio, self.round_to)

    def largest(self, family: Callable[[float], Plan]) -> Plan:
        """The most expensive plan within the budget, of a family that runs from dear to cheap.

        Raises:
            FieldwrenError: even the cheapest is over the budget.
        """
        low, high = 0.0, 1.0
        whole, best = family(low), family(high)
        if self.cost(whole) <= self.budget:
            return whole  # by measured prices a smaller network may seem dearer
        least = most = self.cost(best)
        if least > self.budget:
            raise self.out_of_reach(least)
        for _ in range(STEPS):
            level = (low + high) / 2
            plan = family(level)
            spent = self.cost(plan)
            if spent > self.budget:
                low = level
            else:
                high = level
                if spent >= most:
                    best, most = plan, spent
        return best

    def out_of_reach(self, least: float) -> FieldwrenError:
        """No plan is cheap enough: rounding is in the way, or the largest share is."""
        finest = [rounded(channels, 0, self.max_ratio, 1) for channels in self.whole()]
        coarse = self.cost(self.plan(finest)) <= self.budget
        bound = f"round_to {self.round_to}" if coarse else f"max_ratio {self.max_ratio}"
        change = "lower round_to or raise" if coarse else "raise max_ratio or"
        return FieldwrenError(
            f"{self.key}: the smallest network that {bound} allows costs "
            f"{least:,.5g}, {self.budget:,.5g} are asked for: {change} {self.key}"
        )


def rounded(channels: int, wanted: int, max_ratio: float, round_to: int) -> int:
    """The nearest count a group may keep: a multiple of `round_to`, within `max_ratio`."""
    least = math.ceil(channels * (1 - max_ratio) - TINY)
    keep = max(wanted, least, 1)
    keep = max(round_to, round(keep / round_to) * round_to)
    while keep < least:
        keep += round_to
    return min(keep, channels)


@dataclass(frozen=True)
class Allocation:
    """What a policy decided, and the curves it decided by."""

    plan: Plan
    figures: tuple[Figure, ...] = field(default=())


Policy = Callable[[Problem], Allocation]
