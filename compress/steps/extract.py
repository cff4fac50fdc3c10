"""kind = "extract": remove what a search decided to prune."""

from typing import Literal

from pydantic import Field

from device.manifest import Frozen


class Extract(Frozen):
    """Remove, at the ratios of a searched child, the channels with the smallest feature maps."""

    kind: Literal["extract"]
    examples: int = Field(512, gt=0, description="training images that choose the channels")
    batches: int = Field(50, gt=0, description="that recalibrate batch norm")
