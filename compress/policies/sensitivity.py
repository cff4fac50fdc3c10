"""Each group's own curve of loss over channels, and the cheapest sum of losses in the budget.

H. Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, section 3.2, prune each layer
alone and read the curves by eye; here they are added up:

    min Σ_g ΔL_g(k_g)   subject to   cost(k) ≤ budget

k_g   channels group g keeps, those with the highest scores
ΔL_g  rise of the loss when g alone is masked to k_g channels, at POINTS counts between all and the
      fewest allowed; between them the lower convex hull, on which rises only grow
The walk: from the whole network, always shrink the group whose next step raises the loss least for
what it saves, ∂ΔL_g / ∂cost at the widths reached so far (a channel is worth less once its
neighbours went). On convex curves and additive costs that is the Lagrangian solution. Costs are
products of two widths here, so steps are small; at the end, what still fits is given back. [C]
Masked, norms recalibrated, on fixed training images in evaluation mode: test and validation images
have no part in it.
"""

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from compress.figures import Figure, Series
from compress.policies.base import Allocation, Problem

POINTS = 7
STRIDES = 16  # steps of the walk from a group's channels to none

Curve = tuple[list[int], list[float]]  # channels kept, ascending; rise of the loss


def allocate(problem: Problem) -> Allocation:
    """FieldwrenError: the budget is out of reach."""
    curves = measure(problem)
    series = tuple(
        Series(
            name=group.layer,
            x=tuple(100 * (1 - k / len(group.scores)) for k in kept),
            y=tuple(rise),
        )
        for group, (kept, rise) in zip(problem.groups, curves, strict=True)
    )
    figure = Figure(
        title="Sensitivity: one group pruned alone",
        x="channels removed, %",
        y="rise of the loss on training images",
        series=series,
    )
    kept = walk(problem, [hull(curve) for curve in curves])
    return Allocation(problem.plan(kept), (figure,))


def measure(problem: Problem) -> list[Curve]:
    """Every group's curve."""
    whole = problem.whole()
    base = problem.loss(problem.plan(whole))
    curves = []
    console = Console(stderr=True)  # a plan may be made for who reads standard output
    for index, channels in enumerate(
        track(
            whole, "sensitivity", console=console, transient=True, disable=not console.is_terminal
        )
    ):
        least = problem.least(channels)
        grid = {
            problem.rounded(channels, round(float(wanted)))
            for wanted in np.linspace(least, channels, POINTS + 1)[:-1]
        }
        kept = sorted(grid | {channels})
        rise = []
        for count in kept:
            alone = list(whole)
            alone[index] = count
            rise.append(problem.loss(problem.plan(alone)) - base if count < channels else 0.0)
        curves.append((kept, rise))
    return curves


def hull(curve: Curve) -> Curve:
    """The lower convex hull of a curve that is first made to fall with every channel kept."""
    kept, rise = curve
    falling = np.maximum.accumulate(np.maximum(rise, 0.0)[::-1])[::-1]
    points: list[tuple[int, float]] = []
    for point in zip(kept, falling.tolist(), strict=True):
        while len(points) > 1 and _turns(points[-2], points[-1], point):
            points.pop()
        points.append(point)
    return [k for k, _ in points], [y for _, y in points]


def _turns(a: tuple[int, float], b: tuple[int, float], c: tuple[int, float]) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])


def walk(problem: Problem, hulls: list[Curve]) -> list[int]:
    """Counts within the budget whose summed rise is least, step by step."""
    kept, ladders = problem.whole(), [_ladder(problem, c) for c in problem.whole()]
    spent = problem.cost(problem.plan(kept))
    while spent > problem.budget:
        best: tuple[float, int, int, float] | None = None
        for index, curve in enumerate(hulls):
            step = _saving(problem, kept, index, ladders[index], spent)
            if step is None:
                continue
            count, cost = step
            slope = (_rise(curve, count) - _rise(curve, kept[index])) / (spent - cost)
            if best is None or slope < best[0]:
                best = slope, index, count, cost
        if best is None:
            raise problem.out_of_reach(spent)
        _, index, kept[index], spent = best
    return _given_back(problem, hulls, kept)


def _saving(
    problem: Problem, kept: list[int], index: int, ladder: list[int], spent: float
) -> tuple[int, float] | None:
    """The group's next smaller count that saves anything (latency falls in stairs), its cost."""
    for count in reversed(ladder):
        if count < kept[index]:
            cost = _cost(problem, kept, index, count)
            if cost < spent:
                return count, cost
    return None


def _given_back(problem: Problem, hulls: list[Curve], kept: list[int]) -> list[int]:
    """As many channels more as still fit, those that lower the loss most for their cost first."""
    while True:
        spent = problem.cost(problem.plan(kept))
        best: tuple[float, int, int] | None = None
        for index, curve in enumerate(hulls):
            channels = len(problem.groups[index].scores)
            more = min(channels, kept[index] + problem.round_to)
            if more == kept[index]:
                continue
            cost = _cost(problem, kept, index, more)
            if cost > problem.budget:
                continue
            gain = (_rise(curve, kept[index]) - _rise(curve, more)) / max(cost - spent, 1e-12)
            if best is None or gain > best[0]:
                best = gain, index, more
        if best is None:
            return kept
        kept = list(kept)
        kept[best[1]] = best[2]


def _ladder(problem: Problem, channels: int) -> list[int]:
    """Counts that the walk may stop at, ascending."""
    wanted = np.linspace(problem.least(channels), channels, STRIDES + 1)
    return sorted({problem.rounded(channels, round(float(count))) for count in wanted})


def _cost(problem: Problem, kept: list[int], index: int, count: int) -> float:
    changed = list(kept)
    changed[index] = count
    return problem.cost(problem.plan(changed))


def _rise(curve: Curve, count: int) -> float:
    x: NDArray[np.float64] = np.asarray(curve[0], float)
    return float(np.interp(count, x, np.asarray(curve[1])))
