"""The channels with the lowest scores of the whole network.

remove c of group g  ⇔  s_gc < t        t: so low that the budget is just met
"""

from compress.policies.base import Allocation, Problem
from compress.policies.ranking import cut


def allocate(problem: Problem) -> Allocation:
    """FieldwrenError: the budget is out of reach."""
    return cut(problem, [group.scores for group in problem.groups])
