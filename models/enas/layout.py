"""Which channels every edge of a pruned child reads, makes and hands on.

    kept     of every place (compress/enas/fake.py): the feature map's channels that are not zero
    state    the union of its two edges' channels, in an order that each edge's are neighbours:

             left only | both | right only        left edge:  pad zeros at the end
                                                   right edge: pad zeros at the start

So zero padding, the source's way to add edges pruned differently, is one PAD each. An identity
or a pool has no more channels than the state it reads.
"""

from collections.abc import Mapping
from typing import NamedTuple

from models.enas.architecture import INPUTS, SEPARABLE, SIDES, Edge, Plan
from models.enas.cell import INPUT, Place

Kept = Mapping[Place, tuple[int, ...]]
Channels = tuple[int, ...]  # numbers in the unpruned network, in the order they have now


class Shape(NamedTuple):
    """One edge of a pruned cell."""

    reads: Channels  # of the state
    middle: Channels  # between the stacks of a separable convolution
    out: Channels  # of its node
    before: int  # zero channels in front of `out`
    after: int  # and behind

    def made(self, width: int) -> Channels:
        """What a factorised reduction makes of `out`, in its own order, at full width `width`."""
        even, odd = halves(self.out, width)
        return (*even, *odd)


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
        places = [Place(layer, node, side, "out") for side in SIDES]
        left, right = (
            _out(edge, states[edge.input], kept[place], reduces)
            for edge, place in zip(pair.edges, places, strict=True)
        )
        both = sorted(left & right)
        only = sorted(left - right), sorted(right - left)
        outs = (*only[0], *both), (*both, *only[1])
        pads = (0, len(only[1])), (len(only[0]), 0)
        for side, edge, out, pad in zip(SIDES, pair.edges, outs, pads, strict=True):
            middle = kept.get(Place(layer, node, side, "middle"), ())
            shapes[node, side] = Shape(states[edge.input], middle, out, *pad)
        states.append((*only[0], *both, *only[1]))
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


def _out(edge: Edge, state: Channels, kept: Channels, reduces: bool) -> set[int]:
    """An identity or a pool has no channel that the state it reads has not."""
    made = edge.operation in SEPARABLE or (
        edge.operation == "identity" and reduces and edge.input < INPUTS
    )
    return set(kept) if made else set(kept) & set(state)
