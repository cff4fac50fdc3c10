"""A float .tflite file in the numbers a recipe asks for, audited, with each layer's error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.figures import Figure
from compress.quantization import headroom, kept, mixed, ranges, rules, sqnr
from compress.quantization.audit import Audit, check, inspect
from compress.quantization.ranges import Example
from compress.quantization.schemes import SCHEMES
from compress.steps import Quantize
from device import files
from device.errors import BadInputError
from device.runtime import Runtime

COMPARED = 8  # examples of the per-layer report: plain kernels are slow, and sums converge fast


@dataclass(frozen=True)
class Quantized:
    """What was written."""

    audit: Audit
    errors: tuple[sqnr.LayerError, ...]
    sensitivities: tuple[mixed.Sensitivity, ...]
    figures: tuple[Figure, ...]


def say_if_fewer(numbers: Quantize, offered: int) -> None:
    """One line where ranges will be observed on fewer examples than the recipe asks for.

    Apart from `quantize`, which runs with the quantizer's own lines kept off the terminal.
    """
    if SCHEMES[numbers.scheme].calibrated and offered < numbers.samples:
        print(
            f"quantize: {numbers.scheme} is calibrated on {offered} inputs, all that the task "
            f"offers: samples = {numbers.samples}"
        )


def quantize(
    source: Path,
    numbers: Quantize,
    examples: Sequence[Example],
    target: Path,
    learned: Mapping[str, tuple[float, float]] | None = None,
) -> Quantized:
    """Write `source` to `target`; `learned` are ranges by tensor that training has settled.

    Raises:
        FieldwrenError: the audit found something that is not as the scheme says.
        BadInputError: the runtime of this machine cannot run the result, or a layer to be kept
            does not exist or cannot have float16 weights.
    """
    scheme = SCHEMES[numbers.scheme]
    if scheme.rules is None:
        files.write_bytes(target, source.read_bytes())
        return Quantized(inspect(target), (), (), ())
    chosen, found = scheme.rules(), None
    if scheme.calibrated:
        found = ranges.observe(source, chosen, examples[: numbers.samples])
        found = ranges.replaced(found, learned or {})
        wide = scheme.activations == "INT16" or numbers.high == "int16x8"
        found = headroom.given(source, found, 16 if wide else 8)
    sensed: tuple[mixed.Sensitivity, ...] = ()
    if numbers.scheme == "mixed-int8":
        assert found is not None
        try:
            sensed = mixed.sensitivities(source, found, examples, numbers.spare)
        except BadInputError as error:
            raise _unfit(numbers.scheme, error, "dynamic-int8 with keep may be") from error
        chosen = mixed.rules(sensed, numbers.high)
    named = kept.find(source, numbers.keep)
    chosen = [*chosen, *kept.rules(named)]
    spared = frozenset(one.output for one in sensed if one.spared)
    spared |= {operator.outputs[0].name for operator in named}
    with files.replacing(target) as temporary:
        rules.apply(source, chosen, found, temporary)
        made = check(temporary, scheme, spared)
        _runs(temporary, numbers.scheme)
        errors = sqnr.layers(source, temporary, examples[:COMPARED])
    figures = [sqnr.figure(errors), *([mixed.figure(sensed)] if sensed else [])]
    return Quantized(made, errors, sensed, tuple(figures))


def _runs(model: Path, scheme: str) -> None:
    try:
        Runtime(model)
    except BadInputError as error:
        raise _unfit(scheme, error) from error


def _unfit(scheme: str, error: BadInputError, instead: str = "") -> BadInputError:
    reason = str(error).partition(": ")[2] + (f"; {instead}" if instead else "")
    return BadInputError(f"scheme {scheme} is not for this model: {reason}")
