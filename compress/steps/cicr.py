"""kind = "cicr": search for one contribution rate."""

from typing import Literal

from pydantic import Field, field_validator

from compress.steps.base import Tuning, known_criterion
from device.manifest import Frozen


class Cicr(Frozen):
    """Prune as far as the score allows: one contribution rate for all layers, by bisection."""

    kind: Literal["cicr"]
    criterion: str = Field(
        "permutation-expected", description="whose scores are contributions, never negative"
    )
    acc_loss: float = Field(1.0, gt=0, description="of the primary validation score, in its units")
    interval: float = Field(0.01, ge=1e-4, lt=1, description="resolution of the rate: 7 probes")
    recheck: bool = Field(
        False, description="doubt the last two decisions if they are close to the threshold"
    )
    round_to: int = Field(8, gt=0, description="channel counts are rounded up to multiples of this")
    keep: tuple[str, ...] = Field((), description="as of prune")
    finetune: Tuning = Field(description="short training of every probe")

    _known = field_validator("criterion")(known_criterion)
