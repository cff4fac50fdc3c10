"""Columns of recurrent matrices: which go by a score, and how what is left is stored.

A column of a gate's matrix is what this gate takes from one input or one unit. Eight matrices of
an LSTM layer (six of a GRU's) have a choice of their own each: W_x{i,f,g,o} and W_h{i,f,g,o}.

    l1          Σ|w| of the column
    influence   EMA(.98) over batches of Σ|w·∂L/∂w|, as compress/criteria/influence.py
    random      the control
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from compress import names
from compress.rnn.adopt import recurrent
from compress.rnn.influence import influence
from compress.task import Task
from device.errors import FieldwrenError
from models.projections import Matrix, Projection

Score = Callable[[nn.Module, Task, int, Mapping[str, Projection]], dict[str, Tensor]]
"""network, task, seed and `sides` → scores [groups, inputs] of each of these"""


def sides(net: nn.Module, keep: Iterable[str] = ()) -> dict[str, Projection]:
    """W_x and W_h of every recurrent layer whose name matches no pattern, by name.

    Raises:
        FieldwrenError: a matrix is factorised already: a column is then no column any more; or a
            pattern matches no layer.
    """
    layers = recurrent(net)
    found, kept = {}, names.matching(keep, layers)
    for name, layer in layers.items():
        if name in kept:
            continue
        for side, projection in (("x", layer.x), ("h", layer.h)):
            if any(part.rank is not None for part in projection.parts):
                raise FieldwrenError(f"{name}: choose columns before matrices are factorised")
            found[f"{name}.{side}"] = projection
    return found


def lowest(scores: Tensor, ratio: float, present: Sequence[Tensor] | None = None) -> list[Tensor]:
    """The columns [k] that stay of each group's [inputs], at least one.

    Args:
        present: columns that each group still reads; None: all. Those it does not read count as
            gone, so a smaller ratio than before changes nothing.
    """
    kept, read = remaining(scores.shape[1], ratio), []
    every = [torch.arange(scores.shape[1])] * len(scores)
    for own, there in zip(scores.cpu(), present or every, strict=True):
        order = own[there].argsort(descending=True, stable=True)
        read.append(there[order[:kept]].sort().values)
    return read


def remaining(inputs: int, ratio: float) -> int:
    """Columns that stay."""
    return max(1, round(inputs * (1 - ratio)))


def mask(projection: Projection, read: list[Tensor]) -> None:
    """Zero the columns that group g does not read (fake pruning); the matrix is stored dense."""
    weight = torch.zeros_like(projection.dense().detach())
    rows = zip(weight.chunk(projection.groups), _rows(projection), read, strict=True)
    for masked, own, columns in rows:
        masked[:, columns] = own[:, columns]
    projection.store([Matrix(projection.inputs, [weight])])


def keep_columns(projection: Projection, read: list[Tensor]) -> None:
    """Store a projection so that group g reads the columns read[g]; all others are gone."""
    same = all(torch.equal(columns, read[0]) for columns in read)
    rows = [projection.dense().detach()] if same else _rows(projection)
    projection.store(
        [
            Matrix.reading(projection.inputs, [own[:, columns].contiguous()], columns.clone())
            for own, columns in zip(rows, read, strict=False)
        ]
    )


def _rows(projection: Projection) -> list[Tensor]:
    return list(projection.dense().detach().chunk(projection.groups))


def by_l1(
    net: nn.Module, task: Task, seed: int, sides: Mapping[str, Projection]
) -> dict[str, Tensor]:
    """Σ|w| of every column."""
    return {
        name: side.dense().detach().abs().view(side.groups, -1, side.inputs).sum(1)
        for name, side in sides.items()
    }


def by_influence(
    net: nn.Module, task: Task, seed: int, sides: Mapping[str, Projection]
) -> dict[str, Tensor]:
    """Moving average of Σ|w·∂L/∂w| over calibration batches."""
    found = influence(net, task, seed)
    return {name: found[name].sum(1) for name in sides}


def by_chance(
    net: nn.Module, task: Task, seed: int, sides: Mapping[str, Projection]
) -> dict[str, Tensor]:
    """Uniform."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(side.groups, side.inputs, generator=random) for name, side in sides.items()
    }


SCORES: dict[str, Score] = {"l1": by_l1, "influence": by_influence, "random": by_chance}
