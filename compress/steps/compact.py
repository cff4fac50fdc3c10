"""kind = "compact": put compact blocks in the place of convolutions."""

from typing import Literal

from pydantic import Field

from device.manifest import Frozen


class Compact(Frozen):
    """Replace convolutions by blocks that do with less; a fine-tune should follow."""

    kind: Literal["compact"]
    block: Literal["shuffle", "fire", "inverted", "ghost"]
    layers: tuple[str, ...] = Field(
        min_length=1, description="patterns of layer names, as of files, of the convolutions to go"
    )
    size: float | None = Field(
        None,
        gt=0,
        description="groups, squeeze ratio, expansion or ghost ratio; default: the file's",
    )
    steps: int = Field(200, ge=0, description="of the regression onto the convolution's answers")
    lr: float = Field(0.03, gt=0, description="of the regression, Adam")
