"""kind = "codebook": weights that share a few values or vectors."""

from typing import Literal

from pydantic import Field

from compress.steps.base import Tuning
from device.manifest import Frozen


class Codebook(Frozen):
    """Cluster the weights of every layer and, on request, fine-tune the clusters' values."""

    kind: Literal["codebook"]
    entries: int = Field(256, ge=2, le=65536, description="of every layer's codebook")
    vector: int = Field(1, gt=0, description="weights in a row of a filter that share an entry")
    weighting: Literal["none", "influence", "hessian"] = "none"
    keep: tuple[str, ...] = Field((), description="patterns of layers that stay as they are")
    finetune: Tuning | None = None
