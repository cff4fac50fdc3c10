"""kind = "quantize": the numbers of the deployed model."""

from typing import Literal

from pydantic import Field

from device.manifest import Frozen


class Quantize(Frozen):
    """Numbers of the deployed model."""

    kind: Literal["quantize"]
    scheme: Literal["fp32", "dynamic-int8", "static-int8"]
    samples: int = Field(200, gt=0, description="calibration inputs, static-int8 only")
