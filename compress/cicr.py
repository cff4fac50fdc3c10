"""CICR: one cumulative information contribution rate for all layers, found by bisection.

    P_i = D_i / Σ_j D_j                                      contribution of channel i to its layer
    kept = the largest P until their sum reaches cr          at least one channel
    cr   = bisected on [0, 1]: prune → fine-tune → evaluate; acceptable → right = cr, else left = cr

D_i     change of output channel i when the weights of its filter are permuted: a criterion's score
        (criteria/permutation*.py); any criterion whose scores are not negative will do
cr      the share of the information every layer keeps; one for all layers [S]
left    the largest cr found too small, at first 0
right   the smallest cr found large enough, at first 1, the network as it is

Acceptable means: the validation score is at least the original's − acc_loss, and every further
score that `limits` names at least the original's − its limit [C]. The search ends at
right − left ≤ interval: 7 probes for 0.01, where a grid of that resolution would take 99. P is
computed once, from the original network. [S]

Layers tied by a residual sum share the sum of their P; a criterion's score of such a group is
that sum up to a factor, which the division by ΣD removes. Counts are rounded up to a hardware
multiple. A group whose scores are all zero has no order: its channels count the same. [C]

A score near the threshold is a coin tossed by the seed of the fine-tune, and one wrong decision
turns the bisection for good: it then runs towards the probe that was judged wrongly, which ends
as `left` or `right`. So it is enough to doubt these two: with `margin`, a final `left` or `right`
whose score is that close to the threshold is fine-tuned again from another seed, the mean of the
two scores decides, and the bisection is walked again with that knowledge. Unless told otherwise,
close means within the standard error 100·√(p(1−p)/n) of an accuracy p at the threshold, measured
on n photos, and within acc_loss where the score is none; of a further score, within its limit. [C]
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean

import torch
from pydantic import Field

from compress.prune import Plan, Scored
from device.errors import FieldwrenError
from device.manifest import Frozen

Asked = tuple[float, int]  # cr, attempt
CLOSE = 1.0  # of a limit: as near as a further score may come before its decision is doubted
EXACT = 1e-9  # relative; cumulative sums of float64 shares are no more exact than that


class Probe(Frozen):
    """One fine-tuned candidate of the search."""

    cr: float
    attempt: int  # 0, or 1 when the decision was doubted
    score: float  # primary, validation
    accepted: bool  # decision at this cr, by all its scores so far
    macs: int
    parameters: int
    seconds: float  # of pruning, fine-tuning and scoring; 0 if the plan had been probed before
    further: dict[str, float] = Field({})  # scores that have a limit of their own


@dataclass(frozen=True)
class Candidate:
    """What one probe measured."""

    score: float
    macs: int
    parameters: int
    seconds: float
    further: Mapping[str, float] = field(default_factory=dict)
    slack: float = math.inf  # of the worst of these: share of its limit that is left of it


# far from any threshold, so that nobody doubts them
_ACCEPTED, _REFUSED = (Candidate(score, 0, 0, 0.0) for score in (math.inf, -math.inf))


@dataclass(frozen=True)
class Found:
    """End of a search: the smallest acceptable cr and its better attempt, None if there is none."""

    cr: float | None
    attempt: int
    probes: tuple[Probe, ...]


class _UnknownError(Exception):
    """The search asks for a probe that nobody has made."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked


def contributions(scored: Iterable[Scored]) -> tuple[Scored, ...]:
    """Scores as shares P that sum to one in every group, float64.

    Raises:
        FieldwrenError: a score is negative or not finite, so it is no share of anything.
    """
    found = []
    for group in scored:
        scores = group.scores.detach().cpu().double()
        if not bool(scores.isfinite().all()) or bool((scores < 0).any()):
            raise FieldwrenError(
                f"{group.layer}: the criterion's scores are negative or not finite, cicr needs "
                "contributions: take a permutation criterion"
            )
        total = scores.sum()
        shares = scores / total if total > 0 else torch.full_like(scores, 1 / len(scores))
        found.append(replace(group, scores=shares))
    return tuple(found)


def keep(shares: torch.Tensor, cr: float, round_to: int = 1) -> int:
    """How many of the largest shares it takes until their sum reaches `cr`, rounded up."""
    reached = shares.sort(descending=True).values.cumsum(0) >= cr * (1 - EXACT)
    count = int((~reached).sum()) + 1
    return min(len(shares), math.ceil(count / round_to) * round_to)


def slack(
    scores: Mapping[str, float], least: Mapping[str, float], limits: Mapping[str, float]
) -> float:
    """What the worst of some scores has left of its limit, as a share; below 0 it is over.

    Infinite without limits; NaN, which is refused, where a score was not to be had.
    """
    shares = [(scores.get(name, math.nan) - least[name]) / limits[name] for name in limits]
    return math.nan if any(map(math.isnan, shares)) else min(shares, default=math.inf)


def plan(shares: Iterable[Scored], cr: float, round_to: int = 1) -> Plan:
    """The channel plan for one contribution rate."""
    return Plan(cuts=tuple(group.cut(keep(group.scores, cr, round_to)) for group in shares))


def standard_error(percent: float, examples: int) -> float:
    """Of an accuracy in percent that so many examples measured: binomial, in points."""
    share = min(max(percent / 100, 0.0), 1.0)
    return 100 * math.sqrt(share * (1 - share) / examples)


def bisect(acceptable: Callable[[float], bool], interval: float) -> tuple[float, float]:
    """(left, right) with right − left ≤ interval around the smallest acceptable rate in (0, 1]."""
    left, right = 0.0, 1.0
    while right - left > interval:
        cr = (left + right) / 2
        if acceptable(cr):
            right = cr
        else:
            left = cr
    return left, right


def search(
    probe: Callable[[float, int], Candidate], threshold: float, interval: float, margin: float = 0.0
) -> Found:
    """Bisect `probe(cr, attempt)`, whose score must reach `threshold`; doubt within `margin`.

    Without margin, the published algorithm: ⌈log₂(1 / interval)⌉ probes. With it, two more if the
    decisions hold, and after a turned decision those of the other way. No rate is probed more
    than twice.
    """
    made: dict[float, list[Candidate]] = {}
    log: list[Probe] = []

    def good(tried: Sequence[Candidate]) -> bool:
        enough = fmean(one.score for one in tried) >= threshold
        return enough and fmean(one.slack for one in tried) >= 0

    def close(one: Candidate) -> bool:
        return margin > 0 and (abs(one.score - threshold) < margin or abs(one.slack) < CLOSE)

    def attempt(cr: float) -> None:
        number = len(made.setdefault(cr, []))
        candidate = probe(cr, number)
        made[cr].append(candidate)
        log.append(
            Probe(
                cr=cr,
                attempt=number,
                score=candidate.score,
                accepted=good(made[cr]),
                macs=candidate.macs,
                parameters=candidate.parameters,
                seconds=candidate.seconds,
                further=dict(candidate.further),
            )
        )

    def acceptable(cr: float) -> bool:
        if cr not in made:
            attempt(cr)
        return good(made[cr])

    while True:
        ends = bisect(acceptable, interval)
        doubtful = [cr for cr in ends if len(made.get(cr, [])) == 1 and close(made[cr][0])]
        if not doubtful:
            break
        for cr in doubtful:
            attempt(cr)
    _, right = ends
    if right not in made:
        return Found(None, 0, tuple(log))
    # the better attempt is one within its limits, then the one with the larger score
    rank = [(min(one.slack, 0.0), one.score) for one in made[right]]
    return Found(right, max(range(len(rank)), key=rank.__getitem__), tuple(log))


def ahead(
    known: Mapping[Asked, Candidate],
    threshold: float,
    interval: float,
    margin: float = 0.0,
    width: int = 1,
) -> tuple[Asked, ...]:
    """The next probes of a search with these arguments that has come as far as `known`.

    The first is the one it waits for; the others, `width` in all, are those it goes on to if
    that one is accepted, and if it is refused, and so on level by level. None: it has ended.
    """
    wanted: list[Asked] = []
    futures = deque([dict(known)])
    while futures and len(wanted) < width:
        future = futures.popleft()
        try:
            search(partial(_known, future), threshold, interval, margin)
        except _UnknownError as unknown:
            wanted.append(unknown.asked)
            futures += ({**future, unknown.asked: end} for end in (_ACCEPTED, _REFUSED))
    return tuple(wanted)


def _known(future: Mapping[Asked, Candidate], cr: float, attempt: int) -> Candidate:
    if (cr, attempt) not in future:
        raise _UnknownError((cr, attempt))
    return future[cr, attempt]
