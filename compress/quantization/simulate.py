"""A network that computes as its deployed form will: batch norm folded, values fake-quantized.

The network's own modules and parameters are used; only `forward` is another while a simulation
is active. Batch norm has its running statistics, in training too, whether it is folded or, before
its convolution, stands alone: what learns is what is deployed, and the statistics of a trained
network need no further change. Rounding commutes with the norm's scales, so a layer that is called
more than once, each time before another norm, is rounded as it is.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.func import functional_call

from compress.passes import first
from compress.quantization import fake
from device.errors import FieldwrenError
from models.projections import Projection
from models.recurrent import Recurrent

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
OWN = (Recurrent, Projection)  # this project's recurrent layers, whose matrices have other names
Point = Callable[[Tensor], Tensor]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, (*LAYERS, *NORMS)) or super().is_leaf_module(module, name)


def trace(net: nn.Module) -> fx.GraphModule:
    """The graph of a network's forward pass; it shares the network's modules.

    Raises:
        FieldwrenError: the forward pass depends on values, or a layer's weights would be trained
            as floats.
    """
    for name, module in net.named_modules():
        if isinstance(module, OWN) or (not isinstance(module, LAYERS) and _weighted(module)):
            raise FieldwrenError(
                f"{name}: quantization-aware training knows convolutions and linear layers, and "
                f"would leave this {type(module).__name__} float: take qat out of the steps"
            )
    try:
        return fx.GraphModule(net, _Tracer().trace(net))
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FieldwrenError(
            f"{type(net).__name__} cannot be trained with quantization: its graph cannot be "
            f"traced: {reason}"
        ) from error


class Simulation(fx.Interpreter):
    """Runs a graph with folded norms and fake-quantized weights.

    Args:
        graph: of `trace`.
        quantized: names of the layers whose weights are quantized.
        outputs: node → what becomes of its value.
        inputs: layer → what becomes of what it reads.
        after: called after every pass.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        quantized: frozenset[str],
        outputs: Mapping[str, Point],
        inputs: Mapping[str, Point],
        after: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(graph)
        self.quantized, self.outputs, self.inputs, self.after = quantized, outputs, inputs, after
        self.norms = folds(graph)
        self.absorbed = set(self.norms.values())

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        point = self.outputs.get(n.name)
        return result if point is None else point(result)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer, x = self.fetch_attr(target), first(args, kwargs)
        if target in self.absorbed:
            return x
        if isinstance(layer, NORMS) and layer.track_running_stats:
            statistics = layer.running_mean, layer.running_var
            return F.batch_norm(x, *statistics, layer.weight, layer.bias, eps=layer.eps)
        if target not in self.quantized and target not in self.norms:
            return super().call_module(target, args, kwargs)
        if target in self.inputs:
            x = self.inputs[target](x)
        norm = self.fetch_attr(self.norms[target]) if target in self.norms else None
        weight, bias = folded(layer, norm)
        if target in self.quantized:
            weight = fake.weight(weight)
        replaced = {"weight": weight}
        if layer.bias is not None and bias is not None:
            return functional_call(layer, {**replaced, "bias": bias}, (x,))
        y: Tensor = functional_call(layer, replaced, (x,))
        if bias is None:
            return y
        return y + bias.view(-1, *[1] * (weight.ndim - 2)).to(y.dtype)

    @contextmanager
    def active(self, net: nn.Module) -> Iterator[None]:
        """`net`, of which the graph was traced, computes this instead."""

        def forward(*values: Tensor) -> Any:
            result = self.run(*values)
            self.after()
            return result

        net.forward = forward
        try:
            yield
        finally:
            del net.forward


def folds(graph: fx.GraphModule) -> dict[str, str]:
    """Layer → the norm that is its only reader; both are called once."""
    modules = dict(graph.named_modules())
    calls = [node for node in graph.graph.nodes if node.op == "call_module"]
    times = Counter(node.target for node in calls)
    found = {}
    for node in calls:
        if not isinstance(modules[node.target], LAYERS) or len(node.users) != 1:
            continue
        (reader,) = node.users
        norm = modules.get(str(reader.target)) if reader.op == "call_module" else None
        folds = isinstance(norm, NORMS) and norm.track_running_stats
        if folds and times[node.target] == times[reader.target] == 1:
            found[str(node.target)] = str(reader.target)
    return found


def folded(layer: nn.Module, norm: nn.Module | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a layer with the norm behind it multiplied in."""
    assert isinstance(layer, LAYERS)
    if norm is None:
        return layer.weight, layer.bias
    assert isinstance(norm, NORMS)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.affine:
        scale = norm.weight * scale
    offset = norm.running_mean if layer.bias is None else norm.running_mean - layer.bias
    weight = layer.weight * scale.view(-1, *[1] * (layer.weight.ndim - 1))
    return weight, norm.bias - offset * scale if norm.affine else -offset * scale


def _weighted(module: nn.Module) -> bool:
    """Whether it holds a matrix or kernel itself, under any name."""
    return any(values.ndim > 1 for values in module.parameters(recurse=False))
