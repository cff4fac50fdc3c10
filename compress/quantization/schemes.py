"""Number formats a model can be deployed in, as rules of ai-edge-quantizer: later rules win.

Inputs and outputs stay float32, so a host needs no scales; it costs at most 0.02 ms.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ai_edge_quantizer import recipe as published

from device.errors import BadInputError

Rule = dict[str, Any]
UNIFORM = "min_max_uniform_quantize"  # the quantizer's name for the plain method
OPERATIONS = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}  # which it calls otherwise than the file
ONE_SCALE = ("BATCH_MATMUL",)  # int8 kernels that read no second one: the answers are noise then
HALVED = (  # what the quantizer knows float16 weights for
    *("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "EMBEDDING_LOOKUP"),
)
FLOAT = {"compute_precision": "FLOAT", "explicit_dequantize": False}
HALF = {
    "compute_precision": "FLOAT",
    "explicit_dequantize": True,
    "weight_tensor_config": {
        "num_bits": 16,
        "dtype": "FLOAT",
        "symmetric": True,
        "granularity": "TENSORWISE",
    },
}


@dataclass(frozen=True)
class Scheme:
    """How a model is quantized, and what the audit then demands."""

    rules: Callable[[], list[Rule]] | None  # None: stays as converted
    weights: str  # type of every weight
    activations: str  # type of what flows between operators
    summary: str

    @property
    def calibrated(self) -> bool:
        """Whether ranges of activations must be known."""
        return self.activations != "FLOAT32"


def rule(algorithm: str, config: Rule, *, operation: str = "*", scope: str = ".*") -> Rule:
    """One rule; `operation` as in the file, `scope` a regular expression that the output's name is
    searched for."""
    return {
        "regex": scope,
        "operation": OPERATIONS.get(operation, operation),
        "algorithm_key": algorithm,
        "op_config": config,
    }


def half(operation: str, layer: str, output: str, instead: str) -> Rule:
    """The rule of one operator, named by its output, with float16 weights.

    Raises:
        BadInputError: there are none for such an operation.
    """
    if operation not in HALVED:
        raise BadInputError(f"{layer}: no {operation} has float16 weights: {instead}")
    return rule("float_casting", HALF, operation=operation, scope=exactly(output))


def integer(bits: int, operation: str = "*") -> Rule:
    """How an operation computes in integers: int8 weights, activations of 8 or 16 bits."""
    made = {8: published.static_wi8_ai8, 16: published.static_wi8_ai16}[bits]()
    config: Rule = made[0]["op_config"]
    if operation in ONE_SCALE:
        weights = config["weight_tensor_config"] | {"granularity": "TENSORWISE"}
        return config | {"weight_tensor_config": weights}
    return config


def static(bits: int) -> list[Rule]:
    """All in integers but the ends of the graph."""
    kinds = ("*", *ONE_SCALE)
    return [
        *(rule(UNIFORM, integer(bits, kind), operation=kind) for kind in kinds),
        *float_ends(),
    ]


def exactly(output: str) -> str:
    """The scope of one operator: its outputs' names, each followed by a semicolon."""
    return f"^{re.escape(output)};?$"


def float_ends() -> list[Rule]:
    """Leave the inputs and outputs of the graph as float32."""
    return [rule("no_quantize", FLOAT, operation=end) for end in ("INPUT", "OUTPUT")]


SCHEMES = {
    "fp32": Scheme(None, "FLOAT32", "FLOAT32", "float32 weights and activations"),
    "fp16": Scheme(
        lambda: [rule("float_casting", HALF)],
        "FLOAT16",
        "FLOAT32",
        "float16 weights, computed in float32: half the size, the same speed",
    ),
    "weight-int8": Scheme(
        published.weight_only_wi8_afp32,
        "INT8",
        "FLOAT32",
        "int8 weights per channel, computed in float32: a quarter of the size, the same speed",
    ),
    "dynamic-int8": Scheme(
        published.dynamic_wi8_afp32,
        "INT8",
        "FLOAT32",
        "int8 weights per channel, activations quantized at run time",
    ),
    "static-int8": Scheme(
        lambda: static(8),
        "INT8",
        "INT8",
        "int8 weights per channel, int8 activations calibrated",
    ),
    "static-int16x8": Scheme(
        lambda: static(16),
        "INT8",
        "INT16",
        "int8 weights per channel, int16 activations calibrated: exact, with slow kernels",
    ),
    "mixed-int8": Scheme(
        lambda: static(8),
        "INT8",
        "INT8",
        "static-int8, but the layers that suffer most keep more bits",
    ),
}
