"""CICR: channels kept for one rate, and the bisection against what it stands for."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from compress import cicr, prune
from device.errors import FieldwrenError
from tests.compress import graphs, patterns


def _scored(*scores: list[float]) -> list[prune.Scored]:
    return [
        prune.Scored(f"layer{index}", (f"layer{index}",), torch.tensor(values))
        for index, values in enumerate(scores)
    ]


def test_contributions_are_shares_of_their_layer() -> None:
    one, dead = cicr.contributions(_scored([1.0, 6.0, 3.0], [0.0, 0.0]))
    assert one.scores.tolist() == pytest.approx([0.1, 0.6, 0.3])
    assert dead.scores.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("bad", [-1e-3, math.nan, math.inf])
def test_scores_that_are_no_contributions_are_refused(bad: float) -> None:
    with pytest.raises(FieldwrenError, match=r"layer0: .* negative or not finite"):
        cicr.contributions(_scored([1.0, bad]))


@pytest.mark.parametrize(
    ("cr", "round_to", "removed"),
    [
        (0.0, 1, (0, 2, 3)),  # never empty
        (0.5, 1, (0, 2, 3)),
        (0.6, 1, (0, 2, 3)),  # reached, not passed
        (0.61, 1, (0, 2)),
        (0.9, 1, (0, 2)),
        (0.95, 1, (2,)),
        (1.0, 1, (2,)),  # channel 2 contributes nothing
        (0.5, 2, (0, 2)),
        (0.95, 2, ()),
        (1.0, 8, ()),
    ],
)
def test_the_largest_shares_are_kept_until_their_sum_reaches_the_rate(
    cr: float, round_to: int, removed: tuple[int, ...]
) -> None:
    (cut,) = cicr.plan(_scored([0.1, 0.6, 0.0, 0.3]), cr, round_to).cuts
    assert cut.removed == removed


def test_keeping_is_the_shortest_prefix_of_the_ranking() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        raw = torch.rand(33, generator=generator) ** 4
        (group,) = cicr.contributions([prune.Scored("x", ("x",), raw)])
        cr = float(torch.rand((), generator=generator))
        rest = list(cicr.plan([group], cr).cuts[0].removed)
        kept = [i for i in range(33) if i not in rest]
        smallest = group.scores[kept].min()
        assert float(group.scores[kept].sum()) >= cr - 1e-9
        assert float(group.scores[kept].sum() - smallest) < cr
        assert bool((group.scores[rest] <= smallest).all())


def test_every_portion_of_a_split_keeps_a_channel() -> None:
    net = patterns.shaken(patterns.SMALL["split by sizes"](16))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    groups = [
        replace(group, scores=torch.arange(float(len(group.scores))))  # the first portion is worst
        for group in prune.score_groups(net, x, [net.get_submodule("classifier")], "l1", 0)
    ]
    plan = cicr.plan(cicr.contributions(groups), 0.5)
    portions = [
        (own, cut) for group, cut in zip(groups, plan.cuts, strict=True) for own in group.portions
    ]
    assert portions and all(not own <= set(cut.removed) for own, cut in portions)
    prune.proven(net, x, plan)


def test_plans_grow_with_the_rate() -> None:
    net = graphs.make("residual")
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    head = [net.get_submodule("classifier")]
    shares = cicr.contributions(prune.score_groups(net, x, head, "l1", 0))
    plans = [cicr.plan(shares, rate / 10) for rate in range(11)]
    for small, large in pairwise(plans):
        for one, other in zip(small.cuts, large.cuts, strict=True):
            assert set(other.removed) <= set(one.removed)
    assert all(cut.kept == 1 for cut in plans[0].cuts)
    assert all(cut.kept == cut.channels for cut in plans[-1].cuts)


def _literal(score: list[float], threshold: float) -> int | None:
    """Slow oracle: of all rates i / 128, the smallest from which on all are acceptable."""
    good = [i for i in range(1, len(score)) if all(s >= threshold for s in score[i:])]
    return min(good) if good and good[0] < len(score) - 1 else None


class Curve:
    """Scores that rise with the rate; `noise` by (rate, attempt)."""

    def __init__(self, needed: float, noise: dict[tuple[float, int], float] | None = None) -> None:
        self.needed, self.noise = needed, noise or {}

    def __call__(self, cr: float, attempt: int) -> cicr.Candidate:
        score = 90 + 10 * math.tanh(4 * (cr - self.needed)) + self.noise.get((cr, attempt), 0.0)
        return cicr.Candidate(score, int(1e6 * cr), int(1e5 * cr), 1.0)


@pytest.mark.parametrize("needed", [0.001, 0.3, 0.49999, 0.5, 0.77, 0.991])
def test_bisection_finds_what_trying_every_rate_finds(needed: float) -> None:
    curve = Curve(needed)
    found = cicr.search(curve, threshold=90.0, interval=0.01)
    every = [curve(i / 128, 0).score for i in range(129)]
    expected = _literal(every, 90.0)
    assert expected is not None
    assert found.cr == expected / 128
    assert len(found.probes) == 7
    assert [p.accepted for p in found.probes] == [p.score >= 90.0 for p in found.probes]


@pytest.mark.parametrize("needed", [0.3, 0.77])
def test_a_further_score_decides_where_it_is_the_worse_one(needed: float) -> None:
    def limited(cr: float, attempt: int) -> cicr.Candidate:
        one = Curve(0.1)(cr, attempt)
        return replace(one, further={"stoi": cr}, slack=cr - needed)

    found = cicr.search(limited, threshold=90.0, interval=0.01)
    assert found.cr == math.ceil(128 * needed) / 128
    assert [p.accepted for p in found.probes] == [p.cr >= needed for p in found.probes]
    assert all(probe.further == {"stoi": probe.cr} for probe in found.probes)


def test_a_further_score_is_doubted_and_of_two_attempts_the_one_within_its_limit_is_better() -> (
    None
):
    def limited(cr: float, attempt: int) -> cicr.Candidate:
        slack = 5.0 if cr > 0.5 else (-0.2, 0.4)[attempt]
        return replace(Curve(0.0)(cr, 0), score=99.0 - attempt, slack=slack)

    assert len(cicr.search(limited, threshold=90.0, interval=0.5).probes) == 1  # without margin
    found = cicr.search(limited, threshold=90.0, interval=0.5, margin=1.0)
    assert [probe.attempt for probe in found.probes] == [0, 1]
    assert [probe.accepted for probe in found.probes] == [False, True]  # −.2 + .4 is over 0
    assert (found.cr, found.attempt) == (0.5, 1)  # though the first has the larger score


def test_what_is_left_of_the_tightest_limit() -> None:
    least, limits = {"pesq_wb": 2.0, "stoi": 0.9}, {"pesq_wb": 0.02, "stoi": 0.005}
    scores = {"pesq_wb": 2.01, "stoi": 0.9}
    assert cicr.slack(scores, least, limits) == pytest.approx(0)
    assert cicr.slack(scores | {"stoi": 1.0}, least, limits) == pytest.approx(0.5)
    assert math.isnan(cicr.slack({"stoi": 1.0}, least, limits))
    assert cicr.slack(scores, {}, {}) == math.inf


def test_no_acceptable_rate_means_the_original() -> None:
    found = cicr.search(Curve(1.5), threshold=90.0, interval=0.01)
    assert found.cr is None
    assert len(found.probes) == 7
    assert not any(probe.accepted for probe in found.probes)


@pytest.mark.parametrize(("interval", "probes"), [(0.5, 1), (0.2, 3), (0.1, 4), (0.01, 7)])
def test_the_interval_sets_the_number_of_probes(interval: float, probes: int) -> None:
    assert len(cicr.search(Curve(0.3), threshold=90.0, interval=interval).probes) == probes


@pytest.mark.parametrize("wrong", [-3.0, 3.0])
@pytest.mark.parametrize("cr", [0.5, 0.25, 0.375])
def test_a_wrong_decision_is_found_by_doubting_the_ends(cr: float, wrong: float) -> None:
    """Every rate on the way is judged wrongly once; the truth is at 0.4 or beyond it."""
    needed = {0.5: 0.45 if wrong < 0 else 0.55, 0.25: 0.2 if wrong < 0 else 0.3}.get(
        cr, 0.34 if wrong < 0 else 0.41
    )
    noisy = Curve(needed, {(cr, 0): wrong, (cr, 1): -wrong / 8})
    truth = cicr.search(Curve(needed), threshold=90.0, interval=0.01).cr
    fooled = cicr.search(noisy, threshold=90.0, interval=0.01)
    doubting = cicr.search(noisy, threshold=90.0, interval=0.01, margin=4.0)
    assert truth is not None and fooled.cr is not None and doubting.cr is not None
    assert abs(fooled.cr - truth) > 0.02
    assert abs(doubting.cr - truth) <= 0.01
    assert any(probe.cr == cr and probe.attempt == 1 for probe in doubting.probes)


def test_doubt_costs_two_probes_if_the_decisions_hold_and_none_far_from_the_threshold() -> None:
    assert len(cicr.search(Curve(0.3), 90.0, 0.01, margin=1.0).probes) == 9
    steep = {(i / 128, 0): 50.0 if i / 128 >= 0.3 else -50.0 for i in range(129)}
    assert len(cicr.search(Curve(0.3, steep), 90.0, 0.01, margin=1.0).probes) == 7


@pytest.mark.parametrize(
    ("percent", "examples", "expected"), [(90, 900, 1.0), (50, 2500, 1.0), (100, 9, 0), (-3, 9, 0)]
)
def test_an_accuracy_is_as_exact_as_its_examples_are_many(
    percent: float, examples: int, expected: float
) -> None:
    assert cicr.standard_error(percent, examples) == pytest.approx(expected)


def test_no_rate_is_probed_more_than_twice_whatever_the_noise() -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(30):
        noise = {
            (i / 128, attempt): float(4 * torch.randn((), generator=generator))
            for i in range(129)
            for attempt in range(3)
        }
        found = cicr.search(Curve(0.4, noise), 90.0, 0.01, margin=10.0)
        tried = [(probe.cr, probe.attempt) for probe in found.probes]
        assert len(set(tried)) == len(tried)
        assert all(attempt < 2 for _, attempt in tried)


@pytest.mark.parametrize("width", [1, 2, 3, 7])
def test_probing_ahead_finds_what_probing_in_turn_finds(width: int) -> None:
    generator = torch.Generator().manual_seed(2)
    for _ in range(10):
        noise = {
            (i / 128, attempt): float(4 * torch.randn((), generator=generator))
            for i in range(129)
            for attempt in range(2)
        }
        curve, rounds = Curve(float(torch.rand((), generator=generator)), noise), 0
        in_turn = cicr.search(curve, 90.0, 0.01, margin=3.0)
        known: dict[cicr.Asked, cicr.Candidate] = {}
        while asked := cicr.ahead(known, 90.0, 0.01, 3.0, width):
            assert len(asked) <= width and not set(asked) & set(known)
            known.update({each: curve(*each) for each in asked})
            rounds += 1
        assert cicr.search(lambda *each: known[each], 90.0, 0.01, 3.0) == in_turn  # noqa: B023
        assert rounds <= len(in_turn.probes)
        if width >= 3:  # two steps of the bisection a round
            assert rounds <= math.ceil(len(in_turn.probes) / 2) + 2
