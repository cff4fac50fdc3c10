"""kind = "netadapt": shrink one group at a time, whichever costs least accuracy."""

from typing import Literal

from pydantic import Field, field_validator

from compress.steps.base import Budget, Tuning, known_criterion


class NetAdapt(Budget):
    """Until the budget is met: shrink each group alone by one step's worth, keep the best."""

    kind: Literal["netadapt"]
    criterion: str = "l1"
    gain: float = Field(
        0.05, gt=0, lt=1, description="of the whole network's cost, saved by every iteration"
    )
    repair: bool = Field(False, description="of every candidate, as of prune")
    finetune: Tuning | None = Field(
        None, description="short training of every candidate; without, they are scored as cut"
    )

    _known = field_validator("criterion")(known_criterion)
