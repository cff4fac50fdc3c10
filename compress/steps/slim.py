"""kind = "slim": train with a price on the scales of batch norms."""

from typing import Literal

from pydantic import Field

from compress.steps.base import Tuning


class Slim(Tuning):
    """Train further with a price on the scale of every channel, before pruning by `bn_scale`."""

    kind: Literal["slim"]
    penalty: float = Field(1e-4, gt=0, description="λ of the scales' L1 norm; the paper's 1e-4")
