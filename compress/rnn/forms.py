"""The cheapest way to store and compute each matrix of a recurrent layer.

For a gate's matrix of h rows and n columns, k of which are not masked [F]:

    dense           h·n
    gather + dense  h·k              exact, and always below low rank at r = k
    low rank        r·(h + k)        pays only for r < h·k/(h + k)

and for all gates of one side of the layer together, K the columns that any of them reads:

    dense, gather   4h·n, 4h·K
    packed          r·(4h + K)       one right factor: pays up to r < 4h·K/(4h + K)

Cost is the count of parameters, which at one vector per step is that of multiply-accumulates,
too, or the time measured for such matrices in the runtime (compress/rnn/timing.py). It is that of a
whole side: what an invocation costs beside its matrices is paid once, however many there are. The
form that is stored now is always among the candidates, and none that is larger is taken.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from compress.rnn.svd import Decomposition, Rule
from models.projections import Matrix, Projection


class Shape(NamedTuple):
    """One stored matrix."""

    rows: int
    inputs: int
    kept: int | None  # None: reads all inputs, without a gather
    rank: int | None  # None: stored whole

    @property
    def parameters(self) -> int:
        """Stored values; column numbers are not trained and not counted."""
        width = self.inputs if self.kept is None else self.kept
        return self.rows * width if self.rank is None else self.rank * (self.rows + width)


Cost = Callable[[Sequence[Shape]], float]  # of the matrices of one side


def by_count(shapes: Sequence[Shape]) -> float:
    """Parameters."""
    return float(sum(shape.parameters for shape in shapes))


def shape_of(matrix: Matrix) -> Shape:
    """How a matrix is stored now."""
    return Shape(matrix.rows, matrix.inputs, matrix.kept, matrix.rank)


def empty(shape: Shape) -> Matrix:
    """A matrix of a shape, for weights that are loaded later."""
    width = shape.inputs if shape.kept is None else shape.kept
    sizes = [(shape.rows, width)]
    if shape.rank is not None:
        sizes = [(shape.rows, shape.rank), (shape.rank, width)]
    columns = None if shape.kept is None else torch.zeros(shape.kept, dtype=torch.int64)
    return Matrix(shape.inputs, [torch.zeros(size) for size in sizes], columns)


@dataclass(frozen=True)
class Part:
    """Rows of a projection that are stored as one matrix: one gate's, or all gates' together."""

    weight: Tensor  # [rows, inputs], zero in the columns that are not read
    columns: Tensor  # [k] those that are read
    decomposition: Decomposition  # of weight[:, columns]

    @classmethod
    def of(cls, weight: Tensor, columns: Tensor) -> "Part":
        """Decompose what is read."""
        return cls(weight, columns, Decomposition.of(weight[:, columns]))

    def shapes(self, rule: Rule, limit: float) -> list[Shape]:
        """The forms there are, exact ones first."""
        rows, inputs = self.weight.shape
        whole = len(self.columns) == inputs
        kept = None if whole else len(self.columns)
        shapes = [Shape(rows, inputs, None, None)]
        if not whole:
            shapes.append(Shape(rows, inputs, kept, None))
        if not len(self.columns):  # of a network stored when such matrices were left
            return shapes
        return [*shapes, Shape(rows, inputs, kept, self.decomposition.rank(rule, limit))]

    def stored(self, shape: Shape) -> Matrix:
        """The matrix in one of these forms."""
        columns = None if shape.kept is None else self.columns.clone()
        read = self.weight if columns is None else self.weight[:, columns]
        factors: Sequence[Tensor] = [read.detach().clone()]
        if shape.rank is not None:
            factors = self.decomposition.factors(shape.rank, self.weight.dtype)
        return Matrix(shape.inputs, factors, columns)


class Candidates:
    """The decompositions of one projection: made once, asked for many limits."""

    def __init__(self, projection: Projection) -> None:
        weight = projection.dense().detach()
        self.device = weight.device
        weight = weight.cpu()
        read = columns_read(projection)
        union = torch.tensor(sorted(set(torch.cat(read).tolist())))
        self.current = [shape_of(part) for part in projection.parts]
        self.packed = Part.of(weight, union)
        self.gates = [self.packed]
        if projection.groups > 1:
            rows = weight.view(projection.groups, -1, projection.inputs)
            self.gates = [Part.of(own, columns) for own, columns in zip(rows, read, strict=True)]

    def cheapest(self, rule: Rule, limit: float, cost: Cost) -> list[Shape]:
        """One shape for all gates, or one for each; of equal costs the simpler form."""

        def alone(shape: Shape) -> float:
            return cost([shape])

        packed = [[shape] for shape in self.packed.shapes(rule, limit)]
        each = [min(gate.shapes(rule, limit), key=alone) for gate in self.gates]
        most = by_count(self.current)
        return min(
            (shapes for shapes in (*packed, each, self.current) if by_count(shapes) <= most),
            key=cost,
        )

    def stored(self, shapes: Sequence[Shape]) -> list[Matrix]:
        """The matrices in chosen forms, as the projection's own were: of its type, where it is."""
        parts = [self.packed] if len(shapes) == 1 else self.gates
        chosen = zip(parts, shapes, strict=True)
        return [part.stored(shape).to(self.device) for part, shape in chosen]


def columns_read(projection: Projection) -> list[Tensor]:
    """Which inputs each group reads [k], ascending."""
    every = torch.arange(projection.inputs)
    read = [
        every if part.columns is None else part.columns.detach().cpu() for part in projection.parts
    ]
    return read * projection.groups if len(read) == 1 else read
