"""Ratio: what a candidate saves, as its ratios, in multiply-accumulates or in milliseconds.

    sum       Ratio = Σ_l ratio(l)                                                          [S]
    macs      Ratio = n·(1 − C / C_dearest),  C in multiply-accumulates                     [C]
    latency   the same, C in measured TFLite milliseconds                                   [C]

n          number of ratios the controller decides, so that α means the same for all three
C          Σ over the operators of the candidate, with the channels that fake pruning left
C_dearest  of the dearest network of the space: a cheap operation counts as a pruned one does

`sum` is the source's formula taken literally [S]: it pays for the ratio that was picked, also where
few channels make it round to none, or where they stay because another edge needs them; what is
really saved is what the other two count.

An operator is the unit that is timed (latency.py); stem and classifier are no choice of anyone,
but part of C, so that C in multiply-accumulates is what compress/count.py counts.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

from models.enas import INPUTS, Architecture, Edge, Enas, Node, Place, Plan
from models.enas.architecture import SEPARABLE, SIDES
from models.enas.cell import INPUT, Cell
from models.enas.layout import Channels, Kept, layout
from models.enas.network import STEM
from models.enas.operations import FactorizedReduction

STACKS = {"stack3": 3, "stack5": 5}  # half a separable convolution → kernel
POOLS = ("avg", "max")
POINTS = ("point", "pick", "reduce")  # 1 × 1 convolutions


class Operator(NamedTuple):
    """One unit of work of a network."""

    kind: str  # of STACKS, POOLS, POINTS, or "stem", "answer"
    size: int  # height and width of the input, pixels
    stride: int
    inputs: int  # channels
    outputs: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        pixels = (self.size // self.stride) ** 2
        if self.kind in STACKS:
            return pixels * self.inputs * (STACKS[self.kind] ** 2 + self.outputs)
        if self.kind in POOLS:
            return 0
        kernel = 9 if self.kind == "stem" else 1
        return pixels * self.inputs * self.outputs * kernel


class Cost(Protocol):
    """How Ratio is measured."""

    def ratio(self, architecture: Architecture, kept: Kept) -> float:
        """Of a candidate whose fake pruning left these channels."""
        ...


class Sum:
    """Ratio = Σ ratio(l)."""

    def ratio(self, architecture: Architecture, kept: Kept) -> float:
        """The sum of the architecture's own ratios."""
        return sum(architecture.ratios)


@dataclass(frozen=True)
class Relative:
    """Ratio = n·(1 − C / C_dearest)."""

    geometry: "Geometry"
    price: Callable[[Operator], float]
    dearest: float

    @classmethod
    def of(cls, geometry: "Geometry", price: Callable[[Operator], float]) -> "Relative":
        """With the price of the dearest network."""
        operators = geometry.operators(geometry.dearest, geometry.whole())
        return cls(geometry, price, sum(map(price, operators)))

    def ratio(self, architecture: Architecture, kept: Kept) -> float:
        """The share saved, times the number of ratios."""
        spent = sum(map(self.price, self.geometry.operators(architecture, kept)))
        return len(architecture.ratios) * (1 - spent / self.dearest)


def macs(operator: Operator) -> float:
    """The price of `macs`."""
    return float(operator.macs)


class Layer(NamedTuple):
    """One cell's place in the network."""

    size: int  # of the second input, pixels
    channels: int
    reduces: bool
    halved: bool  # the first input is twice as large


@dataclass(frozen=True)
class Geometry:
    """Sizes and widths of a space's network on square images."""

    size: int
    classes: int
    filters: int
    nodes: int
    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, net: Enas, size: int) -> "Geometry":
        """Of a network and the height and width of its input."""
        layers, now = [], size
        for cell in cast(list[Cell], list(net.cells)):
            halved = isinstance(cell.first, FactorizedReduction)
            layers.append(Layer(now, cell.base.conv.out_channels, cell.reduces, halved))
            now //= 2 if cell.reduces else 1
        return cls(size, net.classes, net.filters, net.nodes, tuple(layers))

    @property
    def dearest(self) -> Architecture:
        """Every edge a 5 × 5 separable convolution of an input, so that every state is joined."""
        edge = Edge(input=1, operation="sep5")
        plan = Plan(nodes=(Node(left=edge, right=edge),) * self.nodes)
        return Architecture(normal=plan, reduction=plan)

    def whole(self) -> Mapping[Place, Channels]:
        """All channels of every map."""
        kept = {}
        for number, layer in enumerate(self.layers):
            for node in (INPUT, *range(self.nodes)):
                for side in SIDES:
                    for part in ("middle", "out"):
                        kept[Place(number, node, side, part)] = tuple(range(layer.channels))
        return kept

    def operators(self, architecture: Architecture, kept: Kept) -> Iterator[Operator]:
        """Everything one image passes."""
        stem = STEM * self.filters
        yield Operator("stem", self.size, 1, 3, stem)
        reads = (stem, stem)
        for number, layer in enumerate(self.layers):
            plan = architecture.plans[layer.reduces]
            found = layout(
                number,
                plan,
                layer.channels,
                kept,
                reduces=layer.reduces,
                halved=layer.halved,
            )
            left, right = (len(state) for state in found.states[:INPUTS])
            if layer.halved:
                yield Operator("reduce", 2 * layer.size, 2, reads[0], left)
            else:
                yield Operator("point", layer.size, 1, reads[0], left)
            yield Operator("point", layer.size, 1, reads[1], len(found.middle))
            yield Operator("point", layer.size, 1, len(found.middle), right)
            for node, side, edge in plan.edges:
                shape = found.edges[node, side]
                halves = layer.reduces and edge.input < INPUTS
                inner = layer.size // 2 if layer.reduces else layer.size
                size, stride = (layer.size, 2) if halves else (inner, 1)
                made = len(shape.reads)
                if edge.operation in SEPARABLE:
                    kind = f"stack{SEPARABLE[edge.operation]}"
                    yield Operator(kind, size, stride, made, len(shape.middle))
                    yield Operator(kind, inner, 1, len(shape.middle), len(shape.out))
                elif edge.operation in POOLS:
                    yield Operator(edge.operation, size, stride, made, made)
                elif halves:
                    yield Operator("reduce", size, 2, made, len(shape.order))
                if shape.picks and edge.operation not in SEPARABLE:
                    yield Operator("pick", inner, 1, len(shape.order), len(shape.out))
            if layer.reduces:
                for state in plan.loose:
                    if state < INPUTS:
                        width = len(found.states[state])
                        yield Operator("reduce", layer.size, 2, width, layer.channels)
            reads = (reads[1], len(found.joined))
        yield Operator("answer", 1, 1, reads[1], self.classes)
