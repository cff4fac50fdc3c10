"""One ranking over the channels of all groups, cut where a share of them is below."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compress.policies.base import Allocation, Problem


def cut(problem: Problem, ranks: Sequence[Tensor]) -> Allocation:
    """Keep the channels of highest rank; `ranks` are every group's, in the order of its scores.

    Raises:
        FieldwrenError: the budget is out of reach.
    """
    every = torch.cat(list(ranks)).sort().values

    def remove(ratio: float) -> list[int]:
        threshold = every[min(len(every) - 1, round(ratio * len(every)))]
        return [problem.rounded(len(own), int((own >= threshold).sum())) for own in ranks]

    if problem.ratio is not None:
        return Allocation(problem.plan(remove(problem.ratio)))
    return Allocation(problem.largest(lambda ratio: problem.plan(remove(ratio))))
