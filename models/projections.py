"""Matrices of recurrent layers in the form in which they are stored: dense, gathered, low rank.

    W[:, columns] = factors[0] · factors[1] · …        all other columns are zero

    factors, columns      stored values
    [W],    none          rows · inputs          dense
    [W],    k             rows · k               gather + dense: exact where the others are zero
    [L, R], none or k     rank · (rows + k)      low rank, with or without a gather before it

A `Projection` stacks the matrices of a layer's gates: as many as gates, or one for all of them,
which then share its columns and its right factor (packed).
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Matrix(nn.Module):
    """One matrix [rows, inputs].

    Args:
        inputs: width of the vectors it is multiplied with.
        factors: [rows, k], or [rows, rank] and [rank, k].
        columns: the k inputs it reads, ascending; None: all of them.
    """

    columns: Tensor | None

    def __init__(
        self, inputs: int, factors: Sequence[Tensor], columns: Tensor | None = None
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.factors = nn.ParameterList(factors)
        self.register_buffer("columns", columns)

    @property
    def rows(self) -> int:
        """Length of the result."""
        return int(self.factors[0].shape[0])

    @property
    def kept(self) -> int | None:
        """How many inputs are read; None: all, without a gather."""
        return None if self.columns is None else len(self.columns)

    @property
    def rank(self) -> int | None:
        """None: stored whole."""
        return int(self.factors[0].shape[1]) if len(self.factors) > 1 else None

    @classmethod
    def reading(cls, inputs: int, factors: Sequence[Tensor], columns: Tensor) -> "Matrix":
        """Of the columns [k], ascending; what would gather all inputs gathers none."""
        return cls(inputs, factors, None if len(columns) == inputs else columns)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """[…, inputs] → […, rows], as deployed."""
        if self.columns is not None:
            x = x.index_select(-1, self.columns)
        last, *others = self.factors
        for factor in reversed(others):
            x = F.linear(x, factor)
        return F.linear(x, last, bias)

    def dense(self) -> Tensor:
        """[rows, inputs], differentiable."""
        value: Tensor = self.factors[0]
        for factor in list(self.factors)[1:]:
            value = value @ factor
        if self.columns is None:
            return value
        return value.new_zeros(len(value), self.inputs).index_copy(1, self.columns, value)


class Projection(nn.Module):
    """The stacked matrices [groups · rows, inputs] of one side of a layer.

    `gate`, while strategies are learned or influence is measured, gives what the weights are
    multiplied with: [groups, 1, inputs] for columns, [groups, rows, inputs] for each weight.
    """

    def __init__(self, groups: int, matrices: Sequence[Matrix]) -> None:
        super().__init__()
        self.groups = groups
        self.matrices = nn.ModuleList(matrices)
        self.gate: Callable[[], Tensor] | None = None

    @classmethod
    def fresh(cls, groups: int, rows: int, inputs: int, spread: float) -> "Projection":
        """Dense, uniform in ±spread."""
        weight = torch.empty(groups * rows, inputs).uniform_(-spread, spread)
        return cls(groups, [Matrix(inputs, [weight])])

    @property
    def parts(self) -> list[Matrix]:
        """The matrices, in order of their rows."""
        return [matrix for matrix in self.matrices if isinstance(matrix, Matrix)]

    @property
    def inputs(self) -> int:
        """Width of the vectors it is multiplied with."""
        return self.parts[0].inputs

    @property
    def rows(self) -> int:
        """Of one group."""
        return sum(matrix.rows for matrix in self.parts) // self.groups

    def store(self, matrices: Sequence[Matrix]) -> None:
        """Keep the same rows in other forms; what did not learn goes on not to."""
        learns = any(values.requires_grad for values in self.matrices.parameters())
        self.matrices = nn.ModuleList(matrices)
        if not learns:
            self.matrices.requires_grad_(False)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """[…, inputs] → […, groups · rows], with a bias [groups · rows] if one is given.

        A bias that is added here is the product's own in the exported file, not a node after it.
        """
        if self.gate is not None:
            return F.linear(x, self.dense(), bias)
        ends = list(accumulate((matrix.rows for matrix in self.parts), initial=0))
        results = []
        for matrix, start, end in zip(self.parts, ends, ends[1:], strict=False):
            own = bias if bias is None or len(ends) == 2 else bias[start:end]
            # forward(): torch's counter of operations refuses views of weights between modules
            results.append(matrix.forward(x, own))
        return torch.cat(results, -1)

    def dense(self) -> Tensor:
        """[groups · rows, inputs], differentiable."""
        value = torch.cat([matrix.dense() for matrix in self.parts])
        if self.gate is None:
            return value
        grouped = value.view(self.groups, -1, self.inputs) * self.gate()
        return grouped.flatten(0, 1)


class Map(nn.Module):
    """A linear layer whose matrix is a Projection of one group."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.x = Projection.fresh(1, outputs, inputs, inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[…, inputs] → […, outputs]."""
        y: Tensor = self.x(x, self.bias)
        return y


class Table(nn.Module):
    """Tied embedding: one matrix [words, size] gives a word's vector and scores words.

    Stored whole or as two factors; either way it is there once.
    """

    def __init__(self, words: int, size: int, spread: float = 0.1) -> None:
        super().__init__()
        self.x = Projection.fresh(1, words, size, spread)
        self.bias = nn.Parameter(torch.zeros(words))

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return self.x.rows

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 […] → […, size]."""
        factors = list(self.x.parts[0].factors)
        vector = F.embedding(tokens, factors[0])
        for factor in factors[1:]:
            vector = vector @ factor
        return vector

    def scores(self, vector: Tensor) -> Tensor:
        """[…, size] → logits […, words]."""
        logits: Tensor = self.x(vector, self.bias)
        return logits
