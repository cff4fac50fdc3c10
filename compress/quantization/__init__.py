"""Quantization: fewer bits for weights and activations.

schemes   number formats of deployed files      write  one, with its audit and errors
codebook  weights that share a few values       qat       training with the deployed numbers
"""

from compress.quantization.audit import Audit, check, inspect
from compress.quantization.flatbuffer import WEIGHTED
from compress.quantization.ranges import Example
from compress.quantization.schemes import SCHEMES
from compress.quantization.write import Quantized, quantize, say_if_fewer

__all__ = [
    "SCHEMES",
    "WEIGHTED",
    "Audit",
    "Example",
    "Quantized",
    "check",
    "inspect",
    "quantize",
    "say_if_fewer",
]
