"""Which channels every edge of a pruned child reads, makes and hands on.

    kept     of every place (compress/enas/fake.py): the feature map's channels that are not zero
    state    the union of its two edges' channels, in an order in which each edge's are
             neighbours, so that zero padding, the source's way to add edges pruned differently,
             is one PAD each:

             left only | both | right only

    pick     an identity or a pool comes in the order of the state it reads, with all its
             channels; where its node wants others, a 1 × 1 convolution with zeros and ones picks

An identity or pool that keeps its whole state may lead instead: the node takes that state's order
and the other edge makes what lies between its own channels as zeros. The cheaper order is taken.
"""

from collections.abc import Mapping
from typing import NamedTuple

from models.enas.architecture import INPUTS, SEPARABLE, SIDES, Edge, Plan
from models.enas.cell import INPUT, Place

Kept = Mapping[Place, tuple[int, ...]]
WEIGHTED = ("separable", "reduce")  # edges that make their channels themselves
Channels = tuple[int, ...]  # numbers in the unpruned network, in the order they have now


class Shape(NamedTuple):
    """One edge of a pruned cell."""

    kind: str  # as `operation` says
    reads: Channels  # of the state
    middle: Channels  # between the stacks of a separable convolution
    order: Channels  # as its operation gives them
    out: Channels  # as its node wants them: `kept`, and what lies between
    kept: frozenset[int]
    before: int  # zero channels in front of `out`
    after: int  # and behind

    @property
    def picks(self) -> bool:
        """Whether channels must be put in order, or be zero though they are there."""
        zeros = self.kind != "separable" and not self.kept.issuperset(self.out)
        return zeros or self.order != self.out


class Layout(NamedTuple):
    """One cell: edges by (node, side), channels of its states, and of its output."""

    edges: dict[tuple[int, str], Shape]
    middle: Channels  # between the two convolutions of the second input
    states: tuple[Channels, ...]
    joined: Channels  # loose states, numbered one after another


def layout(
    layer: int, plan: Plan, channels: int, kept: Kept, *, reduces: bool, halved: bool
) -> Layout:
    """The layout of one cell whose states had so many channels.

    Args:
        reduces: it is a reduction cell.
        halved: its first input comes through a factorised reduction.
    """
    inputs = [Place(layer, INPUT, side, "out") for side in SIDES]
    first = kept[inputs[0]]
    if halved:
        even, odd = halves(first, channels)
        first = (*even, *odd)
    states: list[Channels] = [first, kept[inputs[1]]]
    shapes: dict[tuple[int, str], Shape] = {}
    for node, pair in enumerate(plan.nodes):
        ends = []
        for side, edge in zip(SIDES, pair.edges, strict=True):
            reads = states[edge.input]
            kind = operation(edge, reduces)
            out = kept[Place(layer, node, side, "out")]
            own = frozenset(out)
            if kind not in WEIGHTED:  # not more than the state has; of a dead map, anything
                own = own & frozenset(reads) or frozenset(reads[:1])
            middle = kept.get(Place(layer, node, side, "middle"), ())
            ends.append(End(kind, reads, middle, own))
        possible = [
            (order, [_shape(end, order, channels) for end in ends]) for order in _orders(*ends)
        ]
        order, found = min(possible, key=lambda one: sum(map(_cost, one[1])))
        shapes |= {(node, side): shape for side, shape in zip(SIDES, found, strict=True)}
        states.append(order)
    joined = [
        position * channels + channel
        for position, state in enumerate(plan.loose)
        for channel in (range(channels) if reduces and state < INPUTS else states[state])
    ]
    middle = kept[inputs[1]._replace(part="middle")]
    return Layout(shapes, middle, tuple(states), tuple(joined))


def halves(channels: Channels, width: int) -> tuple[Channels, Channels]:
    """Of a factorised reduction's output: what each convolution makes, one channel at least."""
    half = width // 2
    even = tuple(sorted(channel for channel in channels if channel < half)) or (0,)
    odd = tuple(sorted(channel for channel in channels if channel >= half)) or (half,)
    return even, odd


def operation(edge: Edge, reduces: bool) -> str:
    """What an edge is: "separable", "reduce" (an identity that halves), "pool" or "identity"."""
    if edge.operation in SEPARABLE:
        return "separable"
    if edge.operation == "identity":
        return "reduce" if reduces and edge.input < INPUTS else "identity"
    return "pool"


class End(NamedTuple):
    """One edge before its node's order is known."""

    kind: str
    reads: Channels
    middle: Channels
    kept: frozenset[int]


def _orders(left: End, right: End) -> list[Channels]:
    """Orders of a node's channels that are worth a look."""
    both = left.kept & right.kept
    found: list[Channels] = [(*sorted(left.kept - both), *sorted(both), *sorted(right.kept - both))]
    for leads, follows in ((left, right), (right, left)):
        if leads.kind not in WEIGHTED and leads.kept == frozenset(leads.reads):
            found.append((*leads.reads, *sorted(follows.kept - leads.kept)))
    return found


def _shape(end: End, order: Channels, width: int) -> Shape:
    """An edge in a node of some order: the stretch from its first to its last channel."""
    places = [place for place, channel in enumerate(order) if channel in end.kept]
    out = order[places[0] : places[-1] + 1]
    own = out if end.kind == "separable" else end.reads
    if end.kind == "reduce":
        even, odd = halves(tuple(end.kept), width)
        own = (*even, *odd)
    return Shape(
        end.kind,
        end.reads,
        end.middle,
        own,
        out,
        end.kept,
        before=places[0],
        after=len(order) - places[-1] - 1,
    )


def _cost(shape: Shape) -> int:
    """Multiply-accumulates a pixel that depend on the order."""
    if shape.kind == "separable":
        return len(shape.out) * len(shape.middle)
    return len(shape.out) * len(shape.order) if shape.picks else 0
