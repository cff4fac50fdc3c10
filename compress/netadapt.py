"""NetAdapt's bookkeeping: which counts gain enough, and plans of plans.

T.-J. Yang et al., "NetAdapt: Platform-Aware Neural Network Adaptation for Mobile Applications",
ECCV 2018, algorithm 1. While cost(net) > budget:

    target ← cost(net) − ΔR
    for each group g:  k_g ← the most channels with cost(net, g at k_g) ≤ target
                       net_g ← net with g's lowest scores removed, shortly fine-tuned
    net ← the net_g with the best score

ΔR  `gain` · cost of the whole network; never further than the budget [C]
Costs are predicted from the graph or from a table of measured layer latencies; the whole network
is measured at the end (compress/costs). Channels are chosen by any criterion, on the network as it
has become; the paper's is the L2 norm. Scores are those of the validation split. Convolutions in
groups keep two filters a group. [C]
"""

from collections.abc import Callable, Mapping, Sequence

from compress.prune import Cut, Plan, Scored
from device.manifest import Frozen


class Iteration(Frozen):
    """One group that was shrunk."""

    layer: str
    kept: int
    cost: float  # predicted, of the whole network
    macs: int | None = None  # of the whole network; None in logs older than this line
    score: float  # primary, validation
    tried: int  # candidates
    seconds: float


Kept = dict[str, tuple[int, ...]]  # root layer → channels of the original network that are left


def everything(groups: Sequence[Scored]) -> Kept:
    """Nothing removed yet."""
    return {group.layer: tuple(range(len(group.scores))) for group in groups}


def plan(groups: Sequence[Scored], kept: Mapping[str, Sequence[int]]) -> Plan:
    """What is left, as one plan for the original network, whose groups these are."""
    cuts = []
    for group in groups:
        channels, left = len(group.scores), set(kept[group.layer])
        removed = tuple(channel for channel in range(channels) if channel not in left)
        cuts.append(
            Cut(layer=group.layer, channels=channels, removed=removed, members=group.members)
        )
    return Plan(cuts=tuple(cuts))


def after(kept: Kept, made: Cut) -> Kept:
    """What is left of the original once the network as it is now is cut."""
    left, removed = kept[made.layer], set(made.removed)
    return kept | {made.layer: tuple(c for i, c in enumerate(left) if i not in removed)}


def one_of_each(groups: Sequence[Scored]) -> Plan:
    """Every group without the channel that scores highest: what a proof sees best.

    A channel that is a portion of its own stays.
    """
    cuts = []
    for group in groups:
        channels = len(group.scores)
        order = group.scores.argsort(descending=True, stable=True).tolist()
        free = [channel for channel in order if frozenset((channel,)) not in group.portions]
        best = tuple(free[:1]) if channels > 1 else ()
        cuts.append(Cut(layer=group.layer, channels=channels, removed=best, members=group.members))
    return Plan(cuts=tuple(cuts))


def enough(counts: Sequence[int], cost: Callable[[int], float], target: float) -> int | None:
    """The largest of some counts whose cost is at most the target; None if there is none."""
    return next((count for count in sorted(counts, reverse=True) if cost(count) <= target), None)
