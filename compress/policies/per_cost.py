"""The channels with the lowest score for what they cost.

    remove c of group g  ⇔  s_gc / Δ_g < t            t: so low that the budget is just met
    Δ_g = (cost of the whole − cost with half of g) / channels removed by that

Δ_g  what a channel of the group costs, over all layers that write or read it. Layers tied by a
     residual sum are dear, narrow late ones cheap in multiply-accumulates and dear in parameters.
"""

import torch

from compress.policies.base import Allocation, Problem
from compress.policies.ranking import cut


def allocate(problem: Problem) -> Allocation:
    """FieldwrenError: the budget is out of reach."""
    whole = problem.whole()
    full = problem.cost(problem.plan(whole))
    ranks = []
    for index, group in enumerate(problem.groups):
        half = list(whole)
        half[index] = max(1, whole[index] // 2)
        saved = full - problem.cost(problem.plan(half))
        price = saved / max(1, whole[index] - half[index])
        # what costs nothing is never removed for the budget's sake
        endless = torch.full_like(group.scores, torch.inf)
        ranks.append(group.scores / price if price > 0 else endless)
    return cut(problem, ranks)
