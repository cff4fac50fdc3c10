"""kind = "rnn-units": remove units of recurrent layers."""

from typing import Literal, Self

from pydantic import Field, model_validator

from device.manifest import Frozen


class RnnUnits(Frozen):
    """Remove the units a criterion scores lowest: rows, columns, and what reads them."""

    kind: Literal["rnn-units"]
    criterion: Literal["l1", "influence", "random"]
    ratio: float | None = Field(None, gt=0, lt=1, description="share of every layer's units")
    parameters: float | None = Field(
        None, gt=0, lt=1, description="share of the baseline's parameters, met by one ratio"
    )
    round_to: int = Field(8, gt=0, description="unit counts are kept at multiples of this")
    keep: tuple[str, ...] = Field((), description="patterns of layer names that stay whole")

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.ratio is None) == (self.parameters is None):
            raise ValueError("give either ratio or parameters")
        return self
