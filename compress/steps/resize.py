"""kind = "resize": smaller pictures."""

from typing import Literal

from pydantic import Field

from device.manifest import Frozen


class Resize(Frozen):
    """From here on the network sees pictures of another size; a fine-tune should follow."""

    kind: Literal["resize"]
    size: int = Field(gt=0, description="deployed input, pixels")
    train_size: int = Field(gt=0, description="training views, pixels")
