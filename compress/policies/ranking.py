"""One ranking over the channels of all groups, cut where a share of them is below."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compress.policies.base import Allocation, Problem


def cut(problem: Problem, ranks: Sequence[Tensor]) -> Allocation:
    """Keep the channels of highest rank; `ranks` are every group's, in the order of its scores.

    Infinite ranks stay. Equal ones are common: HRank's, and those of norms not trained yet.

    Raises:
        FieldwrenError: the budget is out of reach.
    """
    every, order = torch.cat(list(ranks)), ascending(ranks)
    most = min(len(every) - 1, int(every.isfinite().sum()))
    owners = torch.cat([torch.full((len(own),), index) for index, own in enumerate(ranks)])

    def remove(ratio: float) -> list[int]:
        gone = owners[order[: min(most, round(ratio * len(every)))]]
        left = [len(own) - int((gone == index).sum()) for index, own in enumerate(ranks)]
        return [problem.rounded(len(own), count) for own, count in zip(ranks, left, strict=True)]

    if problem.ratio is not None:
        return Allocation(problem.plan(remove(problem.ratio)))
    return Allocation(problem.largest(lambda ratio: problem.plan(remove(ratio))))


def ascending(ranks: Sequence[Tensor]) -> Tensor:
    """Places in all groups' ranks, joined, from the lowest to the highest.

    Equal ranks are shared out over their groups in proportion.
    """
    within = torch.cat([_positions(own) for own in ranks])  # 0…1, in the channel's own group
    order = within.argsort(stable=True)
    return order[torch.cat(list(ranks))[order].argsort(stable=True)]


def _positions(own: Tensor) -> Tensor:
    """Where each channel stands among its group's, as a share of the group."""
    return own.argsort(stable=True).argsort(stable=True) / len(own)
