"""kind = "finetune": train further."""

from typing import Literal

from pydantic import Field

from compress.steps.base import Tuning


class Finetune(Tuning):
    """Train the network further."""

    kind: Literal["finetune"]
    seed: int | None = Field(
        None, ge=0, description="of its batches, if not the recipe's: another seed, other views"
    )
