"""Milliseconds of single layers at several numbers of channels, through TFLite on this machine.

Every form of layer is timed at LEVELS of its channels on both sides; between them, bilinear. All
entries are timed in turns, ROUNDS times, and the minimum counts: a disturbance that lasts seconds
then hits all entries alike, and none for good.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compress import distributed
from compress.costs.one_layer import Form, write
from compress.costs.times import Times
from compress.passes import first
from compress.sizes import Layer, Size, Sizes
from compress.task import Deployed
from device.runtime import Runtime

LEVELS = (0.125, 0.25, 0.5, 0.75, 1.0)  # of a layer's channels
ROUNDS, RUNS = 5, 8


class NoEntry(Exception):  # noqa: N818 - why a table cannot be used
    """The exported form does not call a layer, or it is of a kind that has no form here."""


class Table:
    """The layers of a network in its exported form.

    Raises:
        NoEntry: of one of the layers.
    """

    def __init__(
        self, net: nn.Module, sizes: Sizes, deployed: Deployed, times: Times | None = None
    ) -> None:
        shapes = _shapes(net, deployed)
        counted = {name: layer for name, layer in sizes.layers.items() if layer.macs}
        self._forms = {name: _form(layer, shapes.get(name)) for name, layer in counted.items()}
        largest: dict[Form, Size] = {}
        for name, layer in counted.items():
            form, other = self._forms[name], largest.get(self._forms[name], Size(1, 1))
            largest[form] = Size(
                max(layer.size.inputs, other.inputs), max(layer.size.outputs, other.outputs)
            )
        self._grids = {form: _grid(form, size) for form, size in largest.items()}
        self._times = self._kept(times or Times(None))

    def _kept(self, times: Times) -> dict[Form, NDArray[np.float64]]:
        """All entries, as one measurement."""
        shapes = [(len(inputs), len(outputs)) for inputs, outputs in self._grids.values()]
        row = times(lambda: np.concatenate([t.ravel() for t in measure(self._grids).values()]))
        parts = np.split(row, np.cumsum([a * b for a, b in shapes])[:-1])
        return {
            form: part.reshape(shape)
            for form, part, shape in zip(self._grids, parts, shapes, strict=True)
        }

    def total(self, sizes: Mapping[str, Size]) -> float:
        """Milliseconds of all layers together, one after the other."""
        return sum(self.layer(form, sizes[name]) for name, form in self._forms.items())

    def layer(self, form: Form, size: Size) -> float:
        """Milliseconds of one layer."""
        (inputs, outputs), times = self._grids[form], self._times[form]
        rows = [np.interp(size.outputs, outputs, row) for row in times]
        return float(np.interp(size.inputs, inputs, rows))


Grid = tuple[list[int], list[int]]  # numbers of input channels, of output channels


def measure(grids: Mapping[Form, Grid]) -> dict[Form, NDArray[np.float64]]:
    """Milliseconds [inputs, outputs] of every entry."""
    times = {form: np.full((len(a), len(b)), np.inf) for form, (a, b) in grids.items()}
    runtimes: list[tuple[NDArray[np.float64], tuple[int, int], Runtime]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.tflite"
        for form, (inputs, outputs) in grids.items():
            for i, reads in enumerate(inputs):
                for j, writes in enumerate(outputs):
                    write(path, form, reads, writes)
                    runtime = Runtime(path)
                    shape = runtime.inputs["args_0"]["shape"]
                    runtime.feed({"args_0": np.ones(shape, np.float32)})
                    runtimes.append((times[form], (i, j), runtime))
    for _ in range(ROUNDS):
        for found, place, runtime in runtimes:
            for _ in range(RUNS):
                started = perf_counter()
                runtime.invoke()
                found[place] = min(found[place], 1e3 * (perf_counter() - started))
    return {form: distributed.least(values) for form, values in times.items()}


def _grid(form: Form, size: Size) -> Grid:
    def levels(channels: int) -> list[int]:
        step = form.groups
        return sorted({max(step, round(level * channels / step) * step) for level in LEVELS})

    return [0] if form.kind == "depthwise" else levels(size.inputs), levels(size.outputs)


def _shapes(net: nn.Module, deployed: Deployed) -> dict[str, tuple[int, ...]]:
    """Input shapes of the layers in the exported form, where they are called."""
    found: dict[str, tuple[int, ...]] = {}

    def seen(name: str, x: Tensor) -> None:
        found[name] = tuple(x.shape)

    handles = [
        module.register_forward_pre_hook(
            lambda _, x, named, name=name: seen(name, first(x, named)), with_kwargs=True
        )
        for name, module in net.named_modules()
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear)
    ]
    try:
        with torch.no_grad():
            deployed.net(*(torch.from_numpy(deployed.examples[0][n]) for n in deployed.inputs))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _form(layer: Layer, shape: tuple[int, ...] | None) -> Form:
    module = layer.module
    if shape is None:
        raise NoEntry(f"the exported network does not call {layer.name} as it is trained")
    if isinstance(module, nn.Linear):
        return Form("linear", (int(np.prod(shape[:-1])), 1))
    if not isinstance(module, nn.Conv1d | nn.Conv2d):
        raise NoEntry(f"{layer.name}, a {type(module).__name__}, has no place in the table")
    padded = module.padding not in ("valid", (0,) * len(module.kernel_size))
    groups = 1 if layer.channelwise else module.groups
    flat = len(shape) == 3  # over time alone: a picture of height 1
    return Form(
        "depthwise" if layer.channelwise else "dense",
        _pair(shape[2:], flat),
        _pair(module.kernel_size, flat),
        _pair(module.stride, flat),
        _pair(module.dilation, flat),
        padded,
        groups,
    )


def _pair(values: tuple[int, ...], flat: bool) -> tuple[int, int]:
    first, second = (1, *values) if flat else values
    return int(first), int(second)
