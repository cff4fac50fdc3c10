"""How far each layer of a quantized file is from the float one: signal to quantization noise.

    SQNR = 10·log10( Σ x² / Σ (x − q)² )  dB        x  a layer's output in the float file
                                                    q  the same in the quantized file

Sums run over all values and examples. q holds what the layer adds and what came in from the
layers before it. The plain kernels compute both files: a delegate keeps its inner tensors to
itself.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from compress.figures import Figure, Series
from compress.quantization import flatbuffer
from compress.quantization.ranges import SIGNATURE, Example

EXACT = 200.0  # dB that stand for "no difference"; below zero: noise where nothing was


@dataclass(frozen=True)
class LayerError:
    """One operator's output."""

    layer: str
    operator: str
    sqnr_db: float


class Inside:
    """A model that shows what flows between its operators, by the tensors' names."""

    def __init__(self, model: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that keeping all tensors takes memory
            self._interpreter = Interpreter(
                model_content=model.read_bytes(),
                num_threads=1,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
        self._interpreter.allocate_tensors()
        runner = self._interpreter.get_signature_runner(SIGNATURE)
        self._inputs = {key: value["index"] for key, value in runner.get_input_details().items()}
        del runner  # while it lives, invoke() is refused
        self._details: dict[str, Any] = {
            detail["name"]: detail for detail in self._interpreter.get_tensor_details()
        }

    def run(self, example: Example) -> None:
        """Compute every tensor for one input."""
        for key, index in self._inputs.items():
            self._interpreter.set_tensor(index, example[key])
        self._interpreter.invoke()

    def __contains__(self, name: str) -> bool:
        return name in self._details

    def value(self, name: str) -> NDArray[np.float64]:
        """A tensor as numbers, dequantized if need be."""
        detail = self._details[name]
        values: NDArray[np.float64] = self._interpreter.get_tensor(detail["index"]).astype(float)
        quantization = detail["quantization_parameters"]
        if len(quantization["scales"]) == 1 and detail["dtype"] != np.float32:
            values = (values - quantization["zero_points"][0]) * quantization["scales"][0]
        return values


def layers(plain: Path, quantized: Path, examples: Sequence[Example]) -> tuple[LayerError, ...]:
    """SQNR of every operator's output that both files have, in the order of execution."""
    operators = [o for o in flatbuffer.read(plain) if o.outputs[0].type == "FLOAT32"]
    reference, other = Inside(plain), Inside(quantized)
    compared = [o for o in operators if o.outputs[0].name in other]
    signal, noise = np.zeros(len(compared)), np.zeros(len(compared))
    for example in examples:
        reference.run(example)
        other.run(example)
        for index, operator in enumerate(compared):
            x = reference.value(operator.outputs[0].name)
            signal[index] += (x**2).sum()
            noise[index] += ((x - other.value(operator.outputs[0].name)) ** 2).sum()
    return tuple(
        LayerError(operator.layer, operator.name, _decibels(s, n))
        for operator, s, n in zip(compared, signal, noise, strict=True)
    )


def figure(errors: Sequence[LayerError]) -> Figure:
    """SQNR along the network, one curve an operator kind."""
    kinds = sorted({error.operator for error in errors})
    return Figure(
        title="quantization noise of each layer's output",
        x="operator, in the order of execution",
        y="SQNR, dB",
        kind="marks",
        series=tuple(
            Series(
                name=kind,
                x=tuple(float(i) for i, error in enumerate(errors) if error.operator == kind),
                y=tuple(error.sqnr_db for error in errors if error.operator == kind),
            )
            for kind in kinds
        ),
    )


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return EXACT
    if signal == 0:
        return -EXACT
    return max(-EXACT, 10 * (math.log10(signal) - math.log10(noise)))
