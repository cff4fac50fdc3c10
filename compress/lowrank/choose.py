"""Which ranks a convolution gets: by kept energy, by VBMF, or the largest within a budget.

    energy    the form's own (base.py: for_energy)
    vbmf      the form's own (for_noise)
    macs      the largest whose multiply-accumulates are at most `share` of the convolution's
    latency   the largest whose measured time is at most `share` of the convolution's

Ranks of a budget lie on the line from 1 to the form's largest, the same share of each rank; all
ranks are rounded up to a multiple. Whatever the rule, a pair of layers that does not save both
multiply-accumulates and parameters replaces nothing.
"""

from collections.abc import Callable

from torch import Tensor

from compress.lowrank import base, latency
from compress.lowrank.base import Conv, Form, Ranks
from compress.steps.lowrank import BUDGETS, LowRank


def ranks(form: Form, conv: Conv, x: Tensor, step: LowRank) -> Ranks | None:
    """The ranks for a convolution whose input is like `x` [1, channels, …]; None: it stays.

    Raises:
        FieldwrenError: a layer cannot be converted to be timed.
    """
    W = base.kernel(conv)
    full = form.largest(W)
    if step.rank in BUDGETS:
        within = _cheap(form, conv, x, step) if step.rank == "macs" else _fast(form, conv, x, step)
        return largest(_line(full, step.round_to), lambda r: saves(form, conv, x, r) and within(r))
    assert step.energy is not None or step.rank == "vbmf"
    wanted = form.for_noise(W) if step.energy is None else form.for_energy(W, step.energy)
    found = _rounded(wanted, full, step.round_to)
    return found if saves(form, conv, x, found) else None


def saves(form: Form, conv: Conv, x: Tensor, ranks: Ranks) -> bool:
    """Whether the form costs less than the convolution, in both counts."""
    before = base.cost(conv, x.shape)
    after = base.cost(base.hollow(form, conv, ranks), x.shape)
    return after[0] < before[0] and after[1] < before[1]


def largest(line: list[Ranks], within: Callable[[Ranks], bool]) -> Ranks | None:
    """The last of ascending ranks that is within the budget, by bisection; None if none is."""
    low, high = -1, len(line)
    while high - low > 1:
        middle = (low + high) // 2
        if within(line[middle]):
            low = middle
        else:
            high = middle
    return line[low] if low >= 0 else None


def _line(full: Ranks, multiple: int) -> list[Ranks]:
    """Ascending ranks, every rank the same share of its largest."""
    steps = -(-max(full) // multiple)
    shares = [index / steps for index in range(1, steps + 1)]
    found = [
        _rounded(tuple(max(1, round(share * r)) for r in full), full, multiple) for share in shares
    ]
    return list(dict.fromkeys(found))


def _rounded(ranks: Ranks, full: Ranks, multiple: int) -> Ranks:
    return tuple(
        min(most, -(-rank // multiple) * multiple) for rank, most in zip(ranks, full, strict=True)
    )


def _cheap(form: Form, conv: Conv, x: Tensor, step: LowRank) -> Callable[[Ranks], bool]:
    assert step.share is not None
    most = step.share * base.cost(conv, x.shape)[0]

    def within(ranks: Ranks) -> bool:
        return base.cost(base.hollow(form, conv, ranks), x.shape)[0] <= most

    return within


def _fast(form: Form, conv: Conv, x: Tensor, step: LowRank) -> Callable[[Ranks], bool]:
    assert step.share is not None
    whole, most = latency.Timed(conv, x, step.scheme), step.share

    def within(ranks: Ranks) -> bool:
        timed = latency.Timed(base.hollow(form, conv, ranks), x, step.scheme)
        return latency.ratio(timed, whole) <= most

    return within
