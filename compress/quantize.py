"""Post-training quantization of a .tflite file, and the audit that it really happened.

Rules are ai-edge-quantizer's: a list, later rules win. Inputs and outputs stay float32, so a
host needs no scales; it costs at most 0.02 ms.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import calibrator, quantizer, recipe_manager
from ai_edge_quantizer import recipe as rules
from numpy.typing import NDArray

from device import files
from device.errors import FieldwrenError

Rule = dict[str, Any]
Example = dict[str, NDArray[np.float32]]  # signature key → value
SIGNATURE = "serving_default"
# operators whose second input is a weight
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
OPERATORS = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}
TYPES: dict[int, str] = {
    value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)
}


@dataclass(frozen=True)
class Scheme:
    """How a model is quantized."""

    rules: Callable[[], list[Rule]] | None  # None: stays as converted
    calibrated: bool
    summary: str


def _static() -> list[Rule]:
    keep_float = {"compute_precision": "FLOAT", "explicit_dequantize": False}
    ends = [
        {"regex": ".*", "operation": end, "algorithm_key": "no_quantize", "op_config": keep_float}
        for end in ("INPUT", "OUTPUT")
    ]
    return [*rules.static_wi8_ai8(), *ends]


SCHEMES = {
    "fp32": Scheme(None, False, "float32 weights and activations"),
    "dynamic-int8": Scheme(
        rules.dynamic_wi8_afp32,
        False,
        "int8 weights per channel, activations quantized at run time",
    ),
    "static-int8": Scheme(_static, True, "int8 weights per channel, int8 activations calibrated"),
}


@dataclass(frozen=True)
class Audit:
    """What a .tflite file is made of: operators, and the types of its weights."""

    operators: dict[str, int]
    weights: dict[str, int]  # type → how many weight tensors


def quantize(source: Path, scheme: str, examples: Sequence[Example], target: Path) -> Audit:
    """Write `source` in the given scheme to `target`.

    Raises:
        FieldwrenError: a weight that should be int8 stayed float.
    """
    chosen = SCHEMES[scheme]
    if chosen.rules is None:
        files.write_bytes(target, source.read_bytes())
        return audit(target)
    worker = quantizer.Quantizer(str(source), chosen.rules())
    statistics = _ranges(source, chosen.rules(), examples) if chosen.calibrated else None
    with files.replacing(target) as temporary:
        worker.quantize(statistics).export_model(str(temporary), overwrite=True)
        return check_int8(temporary)


def _ranges(source: Path, chosen: list[Rule], examples: Sequence[Example]) -> dict[str, Any]:
    """Smallest and largest value of every tensor over all examples.

    The quantizer's own calibration keeps a moving average of each example's range, which clips
    the answers that only some examples give: on a classifier's logits an error of 0.3 σ.
    """
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(chosen)
    observer = calibrator.Calibrator(source.read_bytes(), num_threads=1, qsv_update_func=_widest)
    observer.calibrate({SIGNATURE: list(examples)}, manager)
    found: dict[str, Any] = observer.get_model_qsvs()
    return found


def _widest(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    if not old:
        return new
    return {"min": np.minimum(old["min"], new["min"]), "max": np.maximum(old["max"], new["max"])}


def audit(path: Path) -> Audit:
    """Count operators and types of weights."""
    operators, weights = Counter[str](), Counter[str]()
    for name, tensor in _operators(path):
        operators[name] += 1
        if tensor is not None:
            weights[_type(tensor)] += 1
    return Audit(dict(operators), dict(weights))


def check_int8(path: Path) -> Audit:
    """The audit of a file whose weights must all be int8.

    Raises:
        FieldwrenError: one is not; the message names it.
    """
    for name, tensor in _operators(path):
        if tensor is not None and _type(tensor) != "INT8":
            where = tensor.name.decode(errors="replace")
            raise FieldwrenError(
                f"quantization left the weight of a {name} as {_type(tensor)}: {where}"
            )
    return audit(path)


def _operators(path: Path) -> list[tuple[str, Any]]:
    """(operator, its weight tensor or None) of every operator."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    found: list[tuple[str, Any]] = []
    for graph in model.subgraphs:
        # not by the buffer's content: a large file keeps its buffers behind the flatbuffer
        computed = {int(i) for operator in graph.operators for i in operator.outputs}
        computed |= {int(i) for i in graph.inputs}
        for operator in graph.operators:
            name = OPERATORS[codes[operator.opcodeIndex]]
            weight = int(operator.inputs[1]) if name in WEIGHTED else None
            constant = weight is not None and weight not in computed
            found.append((name, graph.tensors[weight] if constant else None))
    return found


def _type(tensor: Any) -> str:
    return TYPES[tensor.type]
