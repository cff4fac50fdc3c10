"""Ratio policies on planted problems: the budget is met from below, and by the right groups."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch

from compress.policies import POLICIES, Problem, sensitivity
from compress.policies.base import rounded
from compress.prune import Plan, Scored
from device.errors import FieldwrenError

CHANNELS = {"a": 16, "b": 32, "c": 24}
PRICES = {"a": 5.0, "b": 1.0, "c": 2.0}


def _cost(plan: Plan) -> float:
    return sum(PRICES[cut.layer] * cut.kept for cut in plan.cuts)


def _loss(plan: Plan) -> float:
    """Convex curves: a is dear to lose, c is next to nothing."""
    steep = {"a": 3.0, "b": 1.0, "c": 0.1}
    return 1.0 + sum(steep[c.layer] * (1 - c.kept / c.channels) ** 2 for c in plan.cuts)


def _problem(share: float = 0.5, **changes: object) -> Problem:
    generator = torch.Generator().manual_seed(0)
    groups = tuple(
        Scored(name, (name,), torch.rand(channels, generator=generator))
        for name, channels in CHANNELS.items()
    )
    whole = sum(PRICES[name] * channels for name, channels in CHANNELS.items())
    settings: dict[str, object] = {
        "groups": groups,
        "max_ratio": 0.9,
        "round_to": 1,
        "key": "macs",
        "ratio": None,
        "budget": share * whole,
        "cost": _cost,
        "loss": _loss,
    }
    return Problem(**{**settings, **changes})  # type: ignore[arg-type]


def _kept(plan: Plan) -> dict[str, int]:
    return {cut.layer: cut.kept for cut in plan.cuts}


@pytest.mark.parametrize("round_to", [1, 4])
@pytest.mark.parametrize("budget", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("name", POLICIES)
def test_budgets_are_met_from_below_and_nearly(name: str, budget: float, round_to: int) -> None:
    problem = _problem(budget, round_to=round_to)
    plan = POLICIES[name](problem).plan
    spent = _cost(plan)
    # uniform moves all groups at once, rankings several
    room = {"uniform": 14.0, "global": 10.0, "per-cost": 10.0, "sensitivity": 5.0}[name]
    assert problem.budget - room * round_to < spent <= problem.budget
    assert all(cut.kept % round_to == 0 or cut.kept == cut.channels for cut in plan.cuts)
    for cut, group in zip(plan.cuts, problem.groups, strict=True):
        assert cut.kept >= math.ceil(cut.channels * 0.1)
        rest = [i for i in range(cut.channels) if i not in cut.removed]
        if cut.removed:
            assert group.scores[list(cut.removed)].max() <= group.scores[rest].min()


@pytest.mark.parametrize("distinct", [1, 3])
@pytest.mark.parametrize("name", ["global", "per-cost"])
def test_equal_scores_are_shared_out(name: str, distinct: int) -> None:
    groups = tuple(
        Scored(name, (name,), torch.arange(channels) % distinct + 1.0)
        for name, channels in CHANNELS.items()
    )
    budget = 0.5 * sum(PRICES[name] * channels for name, channels in CHANNELS.items())
    spent = _cost(POLICIES[name](_problem(groups=groups)).plan)
    assert budget - 10 < spent <= budget
    removed = {
        cut.layer: len(cut.removed)
        for cut in POLICIES[name](_problem(groups=groups, ratio=0.5)).plan.cuts
    }
    if name == "global":  # the other is stopped by max_ratio
        assert sum(removed.values()) == sum(CHANNELS.values()) // 2
        assert removed == pytest.approx({k: v / 2 for k, v in CHANNELS.items()}, abs=1)


@pytest.mark.parametrize("name", POLICIES)
def test_a_budget_out_of_reach_names_its_key(name: str) -> None:
    with pytest.raises(FieldwrenError, match=r"^macs: .*raise max_ratio or macs"):
        POLICIES[name](_problem(0.3, max_ratio=0.5))


def test_uniform_takes_the_same_share_of_every_group() -> None:
    kept = _kept(POLICIES["uniform"](_problem(ratio=0.25)).plan)
    assert kept == {"a": 12, "b": 24, "c": 18}


def test_global_keeps_what_scores_above_one_threshold() -> None:
    problem = _problem(0.5)
    plan = POLICIES["global"](problem).plan
    lost, left = [], []
    for cut, group in zip(plan.cuts, problem.groups, strict=True):
        for channel, value in enumerate(group.scores.tolist()):
            (lost if channel in cut.removed else left).append(value)
    assert max(lost) <= min(left)


def test_per_cost_ranks_by_score_over_price() -> None:
    problem = _problem(0.5)
    plan = POLICIES["per-cost"](problem).plan
    lost, left = [], []
    for cut, group in zip(plan.cuts, problem.groups, strict=True):
        for channel, value in enumerate(group.scores.tolist()):
            worth = value / PRICES[cut.layer]
            (lost if channel in cut.removed else left).append(worth)
    assert max(lost) <= min(left)
    even = _kept(POLICIES["global"](problem).plan)
    assert _kept(plan)["a"] < even["a"]  # dear channels go first
    assert _kept(plan)["b"] > even["b"]


def test_a_group_that_costs_nothing_stays_whole() -> None:
    problem = _problem(cost=lambda plan: float(_kept(plan)["a"]), share=8 / 160)
    kept = _kept(POLICIES["per-cost"](problem).plan)
    assert kept == {"a": 8, "b": 32, "c": 24}


def _best(problem: Problem, loss: Callable[[Plan], float]) -> float:
    """Of all allocations, in steps of 2 channels: the slow oracle."""
    choices = [range(2, channels + 1, 2) for channels in CHANNELS.values()]
    plans = (problem.plan(kept) for kept in product(*choices))
    return min(loss(plan) for plan in plans if problem.cost(plan) <= problem.budget)


@pytest.mark.parametrize("budget", [0.3, 0.5, 0.8])
def test_sensitivity_comes_close_to_the_best_of_all_allocations(budget: float) -> None:
    problem = _problem(budget)
    plan = POLICIES["sensitivity"](problem).plan
    assert _loss(plan) <= 1.04 * _best(problem, _loss)
    assert _loss(plan) < 0.95 * _loss(POLICIES["uniform"](problem).plan)


def test_sensitivity_follows_costs_that_are_products_of_widths() -> None:
    def cost(plan: Plan) -> float:
        kept = _kept(plan)
        return float(3 * kept["a"] + kept["a"] * kept["b"] + kept["b"] * kept["c"])

    problem = _problem(cost=cost, share=0.4 * (48 + 512 + 768) / 160)
    plan = POLICIES["sensitivity"](problem).plan
    assert 0.9 * problem.budget < cost(plan) <= problem.budget
    assert _loss(plan) <= 1.04 * _best(problem, _loss)


def test_sensitivity_walks_down_stairs() -> None:
    """Latency falls only at multiples: a single step saves nothing, several do."""

    def cost(plan: Plan) -> float:
        return float(sum(PRICES[c.layer] * 8 * math.ceil(c.kept / 8) for c in plan.cuts))

    problem = _problem(cost=cost, share=0.5)
    assert cost(POLICIES["sensitivity"](problem).plan) <= problem.budget


def test_curves_are_measured_alone_and_shown() -> None:
    found = POLICIES["sensitivity"](_problem(0.5))
    (figure,) = found.figures
    assert [series.name for series in figure.series] == list(CHANNELS)
    (steep,) = (series for series in figure.series if series.name == "a")
    assert steep.x[-1] == 0 and steep.y[-1] == 0
    for removed, rise in zip(steep.x, steep.y, strict=True):
        assert rise == pytest.approx(3.0 * (removed / 100) ** 2)


def test_the_hull_lies_below_the_curve_and_is_convex() -> None:
    kept, rise = [1, 2, 4, 6, 8], [5.0, 1.0, 1.5, 0.9, 0.0]
    x, y = sensitivity.hull((kept, rise))
    assert (x, y) == ([1, 2, 8], [5.0, 1.5, 0.0])  # 2 may not cost less than 4 does
    noisy = sensitivity.hull(([1, 2, 3], [1.0, -0.2, 0.0]))
    assert noisy == ([1, 2, 3], [1.0, 0.0, 0.0])


@pytest.mark.parametrize("ratio", [0.3, 0.7, 0.9, 0.95, 0.99])
def test_max_ratio_is_reached_exactly(ratio: float) -> None:
    for channels in (10, 20, 40, 64, 100):
        exact = -(-channels * (100 - round(100 * ratio)) // 100)
        assert rounded(channels, 0, ratio, 1) == exact
