"""kind = "quantize": the numbers of the deployed model."""

from typing import Literal

from pydantic import Field

from device.manifest import Frozen


class Quantize(Frozen):
    """Numbers of the deployed model."""

    kind: Literal["quantize"]
    scheme: Literal["fp32", "fp16", "dynamic-int8", "static-int8", "static-int16x8", "mixed-int8"]
    samples: int = Field(200, gt=0, description="calibration inputs of the static schemes")
    spare: float = Field(
        0.1, ge=0, le=1, description="mixed-int8: largest share of the weights that keep more bits"
    )
    high: Literal["fp32", "fp16", "int16x8"] = Field(
        "fp32", description="mixed-int8: numbers of the layers that suffer most"
    )
