"""Mixed precision: each layer's own damage is measured, and the worst keep more bits.

    e_i = RMS(y_i − y) / σ(y)     y    outputs of the float file
                                  y_i  the same with layer i alone in int8, worst output

Noise of layers adds in power when it is small, so e_i² is what sparing layer i saves. The layers
are spared from the largest e_i² on, as long as their weights fit in the budget; one that does
not fit is passed over, and one below WORTH of the sum is not worth its conversions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from compress.figures import Figure, Series
from compress.quantization import flatbuffer, schemes
from compress.quantization.ranges import Example, Ranges
from compress.quantization.rules import apply
from compress.quantization.schemes import Rule
from device.runtime import Runtime

SENSED = 32  # examples the sensitivities are measured on
WORTH = 0.01


@dataclass(frozen=True)
class Sensitivity:
    """One layer: what int8 in it alone does to the answers."""

    layer: str
    output: str  # name of its output tensor
    operator: str
    weights: int
    error: float  # e_i
    spared: bool


def sensitivities(
    source: Path, known: Ranges, examples: Sequence[Example], budget: float
) -> tuple[Sensitivity, ...]:
    """Measure every layer with weights; spare the worst within `budget`, a share of all weights."""
    operators = [operator for operator in flatbuffer.read(source) if operator.weights]
    sizes = [sum(weight.values for weight in operator.weights) for operator in operators]
    chosen = examples[:SENSED]
    expected = _answers(source, chosen)
    errors = []
    with TemporaryDirectory() as folder:
        target = Path(folder) / "one.tflite"
        for operator in operators:
            name = operator.outputs[0].name
            apply(source, [*_alone(name, operator.name), *schemes.float_ends()], known, target)
            errors.append(_error(_answers(target, chosen), expected))
    spared = choose(errors, sizes, budget)
    return tuple(
        Sensitivity(o.layer, o.outputs[0].name, o.name, size, error, index in spared)
        for index, (o, size, error) in enumerate(zip(operators, sizes, errors, strict=True))
    )


def choose(errors: Sequence[float], sizes: Sequence[int], budget: float) -> frozenset[int]:
    """Which layers are spared."""
    left = budget * sum(sizes)
    total = sum(error**2 for error in errors)
    spared = set()
    for index in sorted(range(len(errors)), key=lambda i: -errors[i]):
        if errors[index] ** 2 < WORTH * total:
            break
        if sizes[index] <= left:
            spared.add(index)
            left -= sizes[index]
    return frozenset(spared)


def rules(found: Sequence[Sensitivity], high: str) -> list[Rule]:
    """static-int8, with the spared layers in `high`: "fp32", "fp16" or "int16x8".

    Raises:
        BadInputError: one of them cannot have float16 weights.
    """

    def wider(one: Sensitivity) -> Rule:
        if high == "fp16":
            return schemes.half(one.operator, one.layer, one.output, 'take high = "fp32"')
        algorithm, config = {
            "fp32": ("no_quantize", schemes.FLOAT),
            "int16x8": (schemes.UNIFORM, schemes.integer(16, one.operator)),
        }[high]
        scope = schemes.exactly(one.output)
        return schemes.rule(algorithm, config, operation=one.operator, scope=scope)

    return schemes.static(8) + [wider(one) for one in found if one.spared]


def figure(found: Sequence[Sensitivity]) -> Figure:
    """Every layer's damage, in the order of execution."""
    places = {"int8": False, "spared": True}
    return Figure(
        title="error of the answers with one layer in int8",
        x="layer, in the order of execution",
        y="RMS error / σ",
        kind="marks",
        series=tuple(
            Series(
                name=name,
                x=tuple(float(i) for i, one in enumerate(found) if one.spared == spared),
                y=tuple(one.error for one in found if one.spared == spared),
            )
            for name, spared in places.items()
        ),
    )


def _alone(output: str, operator: str) -> list[Rule]:
    config, scope = schemes.integer(8, operator), schemes.exactly(output)
    return [schemes.rule(schemes.UNIFORM, config, operation=operator, scope=scope)]


def _answers(model: Path, examples: Sequence[Example]) -> dict[str, NDArray[np.float32]]:
    runtime = Runtime(model)
    answers = [runtime(example) for example in examples]
    return {key: np.stack([answer[key] for answer in answers]) for key in answers[0]}


def _error(got: dict[str, NDArray[np.float32]], expected: dict[str, NDArray[np.float32]]) -> float:
    return max(
        float(np.sqrt(((got[key] - y) ** 2).mean()) / max(float(y.std()), 1e-12))
        for key, y in expected.items()
    )
