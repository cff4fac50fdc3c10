"""Which numbers networks are trained in: bfloat16 only where it is multiplied as such.

Processors without AVX-512 (or Arm's bf16) emulate it: an epoch of ResNet-20 then takes more than
ten times as long as in float32.
"""

from typing import Literal

import torch

Precision = Literal["32-true", "bf16-mixed"]


def usable(wanted: Precision) -> Precision:
    """What is wanted, or float32 where bfloat16 would be emulated."""
    if wanted == "32-true" or torch.accelerator.is_available() or _fast():
        return wanted
    return "32-true"


def half(wanted: Precision) -> bool:
    """Does autocast to bfloat16 pay here?"""
    return usable(wanted) == "bf16-mixed"


def _fast() -> bool:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # no public name says so
