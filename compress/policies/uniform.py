"""The same share of every group.

kept_g = round((1 − r) · channels_g)        r as asked for, or the smallest within the budget
"""

from compress.policies.base import Allocation, Problem


def allocate(problem: Problem) -> Allocation:
    """FieldwrenError: the budget is out of reach."""

    def remove(ratio: float) -> list[int]:
        whole = problem.whole()
        return [problem.rounded(channels, round(channels * (1 - ratio))) for channels in whole]

    if problem.ratio is not None:
        return Allocation(problem.plan(remove(problem.ratio)))
    return Allocation(problem.largest(lambda ratio: problem.plan(remove(ratio))))
