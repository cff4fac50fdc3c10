"""kind = "qat": train with the numbers of the deployed model."""

from typing import Literal

from pydantic import Field

from compress.steps.base import Tuning


class Qat(Tuning):
    """Train further with fake quantization; quantize with the same scheme follows."""

    kind: Literal["qat"]
    scheme: Literal["static-int8", "dynamic-int8"] = "static-int8"
    samples: int = Field(200, gt=0, description="most calibration inputs the ranges start from")
