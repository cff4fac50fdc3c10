"""Quantization-aware training: the network learns with the numbers it will be deployed in.

B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018. Which values are rounded is not guessed from the layers: the network is
exported and quantized once, and a value of the graph is rounded where the int8 file stores the
same value, found by comparing both on a real input. What the file fuses (batch norm, ReLU) is not
rounded in between, and tensors that share a scale in the file share one here.

Ranges start as the exporter's calibration, follow the batches by a moving average until FREEZE of
the training is over, and are given to the exporter: the file has the very scales that were trained.

dynamic-int8 has no ranges: weights, and what a layer reads, are rounded with the values at hand.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from compress import export
from compress.quantization import fake, flatbuffer, simulate
from compress.quantization.learned import Ranges
from compress.quantization.simulate import Simulation
from compress.quantization.sqnr import Inside
from compress.quantization.write import quantize, say_if_fewer
from compress.steps import Quantize
from compress.task import OneStep
from device.errors import FieldwrenError

FREEZE = 0.7
NAME = "quantized_ranges"  # the child of the network that remembers them
CLOSE = 1e-4  # difference of the same value in two programs, over the largest
OTHER_GRAPH = (
    "this task deploys another graph than it trains, so no value of the int8 file can be found in "
    'it: quantization-aware training needs scheme = "dynamic-int8" here'
)
SHARED = (  # operators whose outputs have the scale of their inputs
    *("AVERAGE_POOL_2D", "CONCATENATION", "GATHER", "GATHER_ND", "MAX_POOL_2D", "PACK", "PAD"),
    *("RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPLIT", "STRIDED_SLICE", "TRANSPOSE"),
    "UNPACK",
)
Values = NDArray[np.float64]


def static(net: nn.Module, deployed: OneStep, numbers: Quantize, steps: int) -> Simulation:
    """Prepare `net` for training as static-int8: it gets a child that holds the ranges.

    `deployed` is its deployed form, which must hold `net` itself; `steps` are those of the
    training.

    Raises:
        FieldwrenError: the graph cannot be traced, or is not the one that is deployed.
    """
    graph = simulate.trace(net)
    found = _values(graph, net, deployed)
    if not found:  # the deployed form is made of other modules
        raise FieldwrenError(OTHER_GRAPH)
    with TemporaryDirectory() as folder:
        plain, int8 = Path(folder) / "float.tflite", Path(folder) / "int8.tflite"
        export.convert(deployed, plain)
        examples = export.by_key(deployed, deployed.examples)
        say_if_fewer(numbers, len(examples))
        with export.silent():
            quantize(plain, numbers, examples, int8)
        inside = Inside(plain)
        inside.run(examples[0])
        stored = {
            tensor: (grid, inside.value(tensor))
            for tensor, grid in _grids(int8).items()
            if tensor in inside
        }
        matched = dict(_matched(found, {name: value for name, (_, value) in stored.items()}))
        together = _sharing(int8, stored, matched.values())
    if not matched:
        raise FieldwrenError(OTHER_GRAPH)
    groups = sorted({together[name] for names in matched.values() for name in names})
    ranges = Ranges(
        [[name for name, group in together.items() if group == one] for one in groups],
        round(FREEZE * steps),
    )
    for place, group in enumerate(ranges.tensors):
        ranges.low[place], ranges.high[place] = stored[group[0]][0]
    net.add_module(NAME, ranges)
    points = {
        node.name: partial(ranges.quantized, groups.index(together[names[0]]))
        for node, names in matched.items()
    }
    return Simulation(graph, _layers(graph, simulate.LAYERS), points, {}, ranges.update)


def dynamic(net: nn.Module) -> Simulation:
    """Prepare `net` for training as dynamic-int8.

    A range is taken over what one invocation of the deployed model reads: the channels of one
    frame in a linear layer or a pointwise Conv1d, one image in a Conv2d. Other layers over time
    become sums of products when they are deployed and stay float.

    Raises:
        FieldwrenError: the graph cannot be traced.
    """
    graph = simulate.trace(net)
    modules = dict(graph.named_modules())
    inputs = {}
    for name in _layers(graph, simulate.LAYERS):
        layer = modules[name]
        if isinstance(layer, nn.Linear):
            inputs[name] = partial(fake.dynamic, axes=(-1,))
        elif isinstance(layer, nn.Conv2d):
            inputs[name] = partial(fake.dynamic, axes=(1, 2, 3))
        elif layer.kernel_size == (1,) and layer.groups == 1:
            inputs[name] = partial(fake.dynamic, axes=(1,))
    return Simulation(graph, frozenset(inputs), {}, inputs)


def _layers(graph: fx.GraphModule, kinds: tuple[type[nn.Module], ...]) -> frozenset[str]:
    modules = dict(graph.named_modules())
    called = {str(node.target) for node in graph.graph.nodes if node.op == "call_module"}
    return frozenset(name for name in called if isinstance(modules[name], kinds))


def _values(graph: fx.GraphModule, net: nn.Module, deployed: OneStep) -> dict[fx.Node, Tensor]:
    """Every value of the graph while the deployed form computes its first example."""

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if isinstance(result, Tensor) and n.op != "output":
                found[n] = result
            return result

    found: dict[fx.Node, Tensor] = {}
    recorder = Recorder(graph)
    net.forward = lambda *values: recorder.run(*values)
    try:
        with torch.no_grad():
            example = deployed.examples[0]
            deployed.net(*(torch.from_numpy(example[name]) for name in deployed.inputs))
    finally:
        del net.forward
    return found


def _grids(int8: Path) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of every int8 tensor that is computed, by its float name."""
    found = {}
    for operator in flatbuffer.read(int8):
        for tensor in operator.flows:
            if tensor.type == "INT8" and len(tensor.scales) == 1:
                low = (fake.LOWEST - tensor.zero_points[0]) * tensor.scales[0]
                high = (fake.HIGHEST - tensor.zero_points[0]) * tensor.scales[0]
                found[tensor.name.removesuffix("_quantized")] = (low, high)
    return found


def _sharing(int8: Path, names: Iterable[str], equal: Iterable[Sequence[str]]) -> dict[str, str]:
    """Tensor → a name that stands for all tensors that must have its scale.

    Those are tensors of `equal` value, and what operators keep in one scale.
    """
    leader = {name: name for name in names}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    kept = [
        [tensor.name.removesuffix("_quantized") for tensor in operator.flows]
        for operator in flatbuffer.read(int8)
        if operator.name in SHARED
    ]
    for group in (*equal, *kept):
        members = [name for name in group if name in leader]
        for other in members[1:]:
            leader[find(other)] = find(members[0])
    return {name: find(name) for name in leader}


def _matched(
    found: dict[fx.Node, Tensor], stored: dict[str, Values]
) -> Iterator[tuple[fx.Node, list[str]]]:
    """Nodes and the tensors of the file that hold their values; each tensor has one node."""
    free = dict(stored)
    for node, value in found.items():
        layouts = [value.double().flatten().numpy()]
        if value.ndim == 4:
            layouts.append(value.double().permute(0, 2, 3, 1).flatten().numpy())
        names = [name for name, other in free.items() if _same(other.ravel(), layouts)]
        for name in names:
            del free[name]
        if names:
            yield node, names


def _same(values: Values, layouts: list[Values]) -> bool:
    if values.size != layouts[0].size:
        return False
    limit = CLOSE * max(float(np.abs(values).max()), 1e-12)
    return any(float(np.abs(values - layout).max()) <= limit for layout in layouts)
