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
    milliseconds: float | None = Field(
        None,
        gt=0,
        description="longest time of the layers and of what reads them, met by one ratio: every "
        "matrix is measured in the TFLite runtime",
    )
    vectors: int = Field(
        1, gt=0, description="in one invocation when time is measured, as the sub-bands of a frame"
    )
    scheme: Literal["fp32", "dynamic-int8", "static-int8"] = Field(
        "fp32", description="numbers in which time is measured"
    )
    round_to: int = Field(8, gt=0, description="unit counts are kept at multiples of this")
    keep: tuple[str, ...] = Field((), description="patterns of layer names that stay whole")

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if sum(t is not None for t in (self.ratio, self.parameters, self.milliseconds)) != 1:
            raise ValueError("give one of ratio, parameters and milliseconds")
        # not by what was given: a stored table gives the defaults, too
        if self.milliseconds is None and (self.vectors, self.scheme) != (1, "fp32"):
            raise ValueError("vectors and scheme: how time is measured, only with milliseconds")
        return self
