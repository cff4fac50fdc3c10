"""Milliseconds of a search space's operators, measured once on this machine through TFLite.

Every kind of operator, at every size the network has, is converted and timed alone with a quarter,
half and all of its channels; what lies between is interpolated in inputs and outputs. The points
of a kind run in turns, and of each the least time counts: other work can only add to one. The sum
over a network's operators leaves out additions, padding and joins, and counts an invocation's
overhead once per operator: it ranks candidates, it does not predict the whole.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from compress import distributed, export
from compress.enas.cost import POOLS, STACKS, Geometry, Operator
from compress.store import key
from device import files
from device.machine import machine
from device.manifest import Frozen
from device.runtime import Runtime
from models.enas.network import STEM
from models.enas.operations import FactorizedReduction, ReluConvNorm, Stack, pool

PARTS = (0.25, 0.5, 1.0)  # of the channels
ROUNDS, RUNS = 5, 40
WAY = "least of turns"  # how times are taken, a part of the key: the first tables held medians
Say = Callable[[str], None]


class Grid(Frozen):
    """Times of one kind of operator at one size."""

    kind: str
    size: int
    stride: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]  # one entry where they are the inputs
    ms: tuple[tuple[float, ...], ...]  # [inputs][outputs]

    def at(self, inputs: int, outputs: int) -> float:
        """Milliseconds, linear between the points in either direction and flat beyond them."""
        table = np.array(self.ms)
        over = [np.interp(inputs, self.inputs, column) for column in table.T]
        return float(np.interp(outputs, self.outputs, over)) if len(over) > 1 else float(over[0])


class Table(Frozen):
    """All of a space, and where it was measured."""

    machine: str
    runtime: str
    grids: tuple[Grid, ...]

    def price(self, operator: Operator) -> float:
        """Milliseconds of an operator."""
        kind = "point" if operator.kind == "pick" else operator.kind
        for grid in self.grids:
            if (grid.kind, grid.size, grid.stride) == (kind, operator.size, operator.stride):
                return grid.at(operator.inputs, operator.outputs)
        raise KeyError(operator)


def table(geometry: Geometry, folder: Path, say: Say) -> Table:
    """The space's table: the one in `folder`, or measured now and stored there."""
    found = stored(list(largest(geometry)), folder, say)
    times = [distributed.least(np.array(grid.ms)) for grid in found.grids]
    grids = [
        grid.model_copy(update={"ms": tuple(map(tuple, ms.tolist()))})
        for grid, ms in zip(found.grids, times, strict=True)
    ]
    return found.model_copy(update={"grids": tuple(grids)})


def stored(operators: Sequence[Operator], folder: Path, say: Say) -> Table:
    """The table of some kinds of operators with the most channels they can have."""
    runtime = _runtime()
    path = folder / f"latency-{key(machine(), runtime, repr(operators), WAY)[:16]}.json"
    try:
        found = Table.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        found = Table(machine=machine(), runtime=runtime, grids=())
    missing = operators[len(found.grids) :]  # a table may have been interrupted
    if missing:
        say(f"latency: timing {len(missing)} kinds of operators once, stored in {path}")
    for number, operator in enumerate(missing, len(found.grids) + 1):
        kind, size, stride, *_ = operator
        say(f"latency: {number} of {len(operators)}: {kind}, {size} × {size}, stride {stride}")
        found = found.model_copy(update={"grids": (*found.grids, _grid(operator))})
        files.write_bytes(path, found.model_dump_json(indent=1).encode())
    return found


def measured(operators: Sequence[Operator]) -> list[float]:
    """Least milliseconds of single operators, run in turns."""
    runtimes = [_alone(operator) for operator in operators]
    least = [float("inf")] * len(operators)
    for _ in range(ROUNDS):
        for place, runtime in enumerate(runtimes):
            for _ in range(RUNS):
                started = perf_counter()
                runtime.invoke()
                least[place] = min(least[place], 1e3 * (perf_counter() - started))
    return least


def largest(geometry: Geometry) -> Iterator[Operator]:
    """Every (kind, size, stride) there is, with the most channels it can have."""
    found: dict[tuple[str, int, int], Operator] = {}
    reads = (STEM * geometry.filters,) * 2
    every = [Operator("stem", geometry.size, 1, 3, STEM * geometry.filters)]
    for layer in geometry.layers:
        width = layer.channels
        inner = layer.size // 2 if layer.reduces else layer.size
        if layer.halved:
            every.append(Operator("reduce", 2 * layer.size, 2, reads[0], width))
        every.append(Operator("point", layer.size, 1, max(reads), width))
        every.append(Operator("point", inner, 1, width, width))
        for kind in (*STACKS, *POOLS):
            every.append(Operator(kind, inner, 1, width, width))
            if layer.reduces:
                every.append(Operator(kind, layer.size, 2, width, width))
        if layer.reduces:
            every.append(Operator("reduce", layer.size, 2, width, width))
        reads = (reads[1], (geometry.nodes + 2) * width)
    every.append(Operator("answer", 1, 1, reads[1], geometry.classes))
    for operator in every:
        place = (operator.kind, operator.size, operator.stride)
        known = found.get(place, operator)
        found[place] = operator._replace(
            inputs=max(known.inputs, operator.inputs), outputs=max(known.outputs, operator.outputs)
        )
    yield from found.values()


def _grid(largest: Operator) -> Grid:
    inputs = (3,) if largest.kind == "stem" else _points(largest.inputs)
    single = largest.kind in POOLS or largest.kind in ("stem", "answer")
    outputs = (largest.outputs,) if single else _points(largest.outputs)
    points = list(itertools.product(inputs, outputs))
    wanted = [largest._replace(inputs=i, outputs=o) for i, o in points]
    times = dict(zip(points, measured(wanted), strict=True))
    return Grid(
        kind=largest.kind,
        size=largest.size,
        stride=largest.stride,
        inputs=inputs,
        outputs=outputs,
        ms=tuple(tuple(times[i, o] for o in outputs) for i in inputs),
    )


def _points(channels: int) -> tuple[int, ...]:
    return tuple(sorted({max(2, round(part * channels)) for part in PARTS}))


class _Alone(nn.Module):
    """[1, H, W, channels] in and out, as the converter likes it."""

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        kind, _, stride, inputs, outputs = operator
        self.kind, self.stride = kind, stride
        made: nn.Module = nn.Identity()
        if kind in STACKS:
            made = Stack(inputs, outputs, STACKS[kind], stride)
        elif kind in ("point", "pick"):
            made = ReluConvNorm(inputs, outputs)
        elif kind == "reduce":
            made = FactorizedReduction(inputs, outputs)
        elif kind == "stem":
            made = nn.Conv2d(inputs, outputs, 3, padding=1)
        elif kind == "answer":
            made = nn.Conv2d(inputs, outputs, 1)
        self.made = made

    def forward(self, x: Tensor) -> tuple[Tensor]:
        x = x.permute(0, 3, 1, 2)
        y = pool(self.kind, x, self.stride) if self.kind in POOLS else self.made(x)
        return (y.permute(0, 2, 3, 1),)


def _shape(operator: Operator) -> tuple[int, ...]:
    return (1, operator.size, operator.size, operator.inputs)


def _alone(operator: Operator) -> Runtime:
    """An operator as a network of its own, fed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "operator.tflite"
        _write(operator, path)
        runtime = Runtime(path)
    runtime.feed({"args_0": np.zeros(_shape(operator), np.float32)})
    return runtime


def _write(operator: Operator, path: Path) -> None:
    export.write(_Alone(operator).eval(), (torch.zeros(_shape(operator)),), path)


def _runtime() -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.tflite"
        _write(Operator("avg", 4, 1, 4, 4), path)
        return Runtime(path).description
