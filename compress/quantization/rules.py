"""Run ai-edge-quantizer's rules on a float .tflite file."""

from pathlib import Path

from ai_edge_quantizer import quantizer

from compress.quantization.ranges import Ranges
from compress.quantization.schemes import Rule
from device.errors import FieldwrenError


def apply(source: Path, rules: list[Rule], ranges: Ranges | None, target: Path) -> None:
    """Write `source` as the rules say; static rules need the ranges of all tensors.

    Raises:
        FieldwrenError: the rules cannot be carried out on this file.
    """
    try:
        quantizer.Quantizer(str(source), rules).quantize(ranges).export_model(
            str(target), overwrite=True
        )
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FieldwrenError(f"the model cannot be quantized this way: {reason}") from error
