"""kind = "prune": remove channels by a criterion."""

from typing import Literal

from pydantic import Field, field_validator

from compress.steps.base import Budget, known_criterion


class Prune(Budget):
    """Remove the channels a criterion scores lowest."""

    kind: Literal["prune"]
    criterion: str
    scope: Literal["uniform", "global", "per-cost", "sensitivity"] = Field(
        "uniform",
        description="the same share of every group, one ranking over all groups, the same by "
        "score for cost, or the cheapest sum of the groups' measured loss curves",
    )
    calibration: Literal["training", "noise"] = Field(
        "training", description="what criteria are measured on; noise shows what photos are worth"
    )
    repair: bool = Field(
        False,
        description="fit the layers that are left, by least squares, to what they said before",
    )

    _known = field_validator("criterion")(known_criterion)
