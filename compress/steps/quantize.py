"""kind = "quantize": the numbers of the deployed model."""

from typing import Literal

from pydantic import Field, model_validator

from device.manifest import Frozen


class Quantize(Frozen):
    """Numbers of the deployed model."""

    kind: Literal["quantize"]
    scheme: Literal[
        "fp32",
        "fp16",
        "weight-int8",
        "dynamic-int8",
        "static-int8",
        "static-int16x8",
        "mixed-int8",
    ]
    samples: int = Field(200, gt=0, description="most calibration inputs of the static schemes")
    spare: float = Field(
        0.1, ge=0, le=1, description="mixed-int8: largest share of the weights that keep more bits"
    )
    high: Literal["fp32", "fp16", "int16x8"] = Field(
        "fp32", description="mixed-int8: numbers of the layers that suffer most"
    )
    keep: tuple[str, ...] = Field(
        (),
        description="schemes with int8 weights: layers that stay float16, patterns of the report's "
        "names",
    )

    @model_validator(mode="after")
    def _something_to_keep_from(self) -> "Quantize":
        if self.keep and self.scheme in ("fp32", "fp16"):
            raise ValueError(f"keep is for schemes with int8 weights, not for {self.scheme}")
        return self
