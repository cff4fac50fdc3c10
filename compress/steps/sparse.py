"""kind = "sparse": set parts of kernels to zero."""

from typing import Literal

from pydantic import Field

from device.manifest import Frozen


class Sparse(Frozen):
    """Set weights, rows, windows or groups of kernels to zero and keep them there in training."""

    kind: Literal["sparse"]
    grain: Literal["weight", "vector", "kernel", "group"] = "weight"
    score: Literal["magnitude", "influence"] = "magnitude"
    sparsity: float = Field(gt=0, lt=1, description="share of the grains that go")
    scope: Literal["uniform", "global"] = Field(
        "uniform", description="the same share of every layer, or one ranking over all"
    )
    keep: tuple[str, ...] = Field(
        (), description="patterns of layer names, as of files: such layers stay whole"
    )
