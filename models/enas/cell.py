"""A cell that runs the edges of an architecture: with its own weights, or with those of all.

`Fake` is called with every feature map that can be pruned and returns what goes on in its place:
so fake pruning (compress/enas/fake.py) masks channels. The maps are the cell's calibrated inputs
and the outputs of edges; a separable convolution has a second one, between its stacks, and so
has the second input, which passes two convolutions.
"""

from typing import NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.enas.architecture import INPUTS, OPERATIONS, SEPARABLE, SIDES, Edge, Plan
from models.enas.operations import (
    Blocks,
    DropPath,
    FactorizedReduction,
    ReluConvNorm,
    Stack,
    pool,
)

INPUT = -1  # the "node" whose left and right are the cell's inputs


class Place(NamedTuple):
    """Where a feature map is: layer, node, side of the node, and "middle" or "out" of the edge."""

    layer: int
    node: int
    side: str
    part: str


class Fake(Protocol):
    """Place, the edge's ratio, map → map; a class because torch.fx cannot write Callable[[…], …]
    down when it traces a network that takes one."""

    def __call__(self, place: Place, ratio: float, x: Tensor) -> Tensor:
        """What goes on in the map's place."""
        ...


class State(NamedTuple):
    """A layer's output: its loose states joined, and which these are (None: a child knows)."""

    value: Tensor
    blocks: Blocks | None


class Separable(nn.Module):
    """A separable convolution: two stacks."""

    def __init__(self, channels: int, kernel: int, stride: int, *, tracked: bool) -> None:
        super().__init__()
        self.first = Stack(channels, channels, kernel, stride, tracked=tracked)
        self.second = Stack(channels, channels, kernel, tracked=tracked)


class Cell(nn.Module):
    """Calibration of two inputs, edges, their sums, loose states joined.

    Args:
        layer: position in the network.
        reads: channels of the two inputs.
        channels: of every state.
        plan: the cell's edges; None for a cell that holds the weights of all edges there are.
        count: number of nodes.
        reduces: edges that read the inputs halve height and width.
        halved: the first input is twice as high and wide as the second.
        drop: probability of drop-path on the edges, identity excepted.
    """

    def __init__(
        self,
        layer: int,
        reads: tuple[int, int],
        channels: int,
        plan: Plan | None,
        count: int,
        *,
        reduces: bool,
        halved: bool,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        tracked = plan is not None
        self.layer, self.reduces, self.tracked, self.count = layer, reduces, tracked, count
        first = FactorizedReduction if halved else ReluConvNorm
        self.first = first(reads[0], channels, tracked=tracked)
        self.second = ReluConvNorm(reads[1], channels, tracked=tracked)
        self.base = ReluConvNorm(channels, channels, tracked=tracked)
        self.edges = nn.ModuleDict()
        for node, side, edge in plan.edges if plan is not None else every_edge(count):
            stride = self.stride(edge)
            if edge.operation in SEPARABLE:
                kernel = SEPARABLE[edge.operation]
                made: nn.Module = Separable(channels, kernel, stride, tracked=tracked)
            elif edge.operation == "identity" and stride > 1:
                made = FactorizedReduction(channels, channels, tracked=tracked)
            else:
                continue
            self.edges[name(node, side, edge)] = made
        ends = plan.loose if plan is not None else tuple(range(INPUTS + count))
        self.ends = nn.ModuleDict(
            {
                str(state): FactorizedReduction(channels, channels, tracked=tracked)
                for state in ends
                if reduces and state < INPUTS
            }
        )
        self.drop = DropPath(drop)
        self.fits = nn.ModuleDict()  # what narrowing adds (models/enas/narrow.py)

    def forward(self, first: State, second: State, plan: Plan, fake: Fake) -> State:
        """The joined loose states [batch, loose · channels, H, W]."""
        left, right = (Place(self.layer, INPUT, side, "out") for side in SIDES)
        states = [fake(left, plan.ratios[0], self.first(*first))]
        x = fake(right._replace(part="middle"), plan.ratios[1], self.second(*second))
        states.append(fake(right, plan.ratios[1], self.base(x)))
        for node, pair in enumerate(plan.nodes):
            one, other = (
                self.edge(node, side, edge, states, fake)
                for side, edge in zip(SIDES, pair.edges, strict=True)
            )
            states.append(one + other)
        parts = [
            self.ends[str(state)](states[state]) if str(state) in self.ends else states[state]
            for state in plan.loose
        ]
        blocks = None if self.tracked else Blocks(plan.loose, INPUTS + self.count)
        return State(torch.cat(parts, 1), blocks)

    def edge(self, node: int, side: str, edge: Edge, states: list[Tensor], fake: Fake) -> Tensor:
        """One operand of a node."""
        x, key = states[edge.input], name(node, side, edge)
        if edge.operation in SEPARABLE:
            stacks = cast(Separable, self.edges[key])
            x = fake(Place(self.layer, node, side, "middle"), edge.ratio, stacks.first(x))
            x = stacks.second(x)
        elif key in self.edges:
            x = self.edges[key](x)
        elif edge.operation != "identity":
            x = pool(edge.operation, x, self.stride(edge))
        x = fake(Place(self.layer, node, side, "out"), edge.ratio, x)
        if edge.operation != "identity":
            x = self.drop(x)
        return cast(Tensor, self.fits[key](x)) if key in self.fits else x

    def stride(self, edge: Edge) -> int:
        """2 where an edge of a reduction cell reads one of the cell's inputs."""
        return 2 if self.reduces and edge.input < INPUTS else 1


class Fit(nn.Module):
    """Brings a narrowed edge into its node: picks channels, pads zero ones.

    Picking is a 1 × 1 convolution with zeros and ones: an index over channels would become a
    gather between two transpositions in TFLite. It is left out where nothing changes.
    """

    picks: Tensor  # [picked, channels, 1, 1], or empty

    def __init__(self, picks: Tensor, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after
        self.register_buffer("picks", picks)

    def forward(self, x: Tensor) -> Tensor:
        if len(self.picks):
            x = F.conv2d(x, self.picks)
        if self.before or self.after:
            x = F.pad(x, (0, 0, 0, 0, self.before, self.after))
        return x


def name(node: int, side: str, edge: Edge) -> str:
    """Name of an edge's weights: their own for every node, side, operation and input."""
    return f"{node}-{side}-{edge.operation}-{edge.input}"


def every_edge(count: int) -> list[tuple[int, str, Edge]]:
    """All edges that a cell of so many nodes could have."""
    return [
        (index, side, Edge(input=state, operation=operation))
        for index in range(count)
        for side in SIDES
        for state in range(INPUTS + index)
        for operation in OPERATIONS
    ]
