"""kind = "prune": remove channels by a criterion."""

from typing import Literal

from pydantic import Field, field_validator

from compress.steps.base import Budget, known_criterion


class Prune(Budget):
    """Remove the channels a criterion scores lowest."""

    kind: Literal["prune"]
    criterion: str
    scope: Literal["uniform", "global"] = Field(
        "uniform", description="the same share of every group, or one ranking over all groups"
    )
    repair: bool = Field(
        False,
        description="fit the layers that are left, by least squares, to what they said before",
    )

    _known = field_validator("criterion")(known_criterion)
