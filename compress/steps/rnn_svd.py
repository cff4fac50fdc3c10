"""kind = "rnn-svd": factorise recurrent matrices."""

from typing import Literal, Self

from pydantic import Field, model_validator

from device.manifest import Frozen


class RnnSvd(Frozen):
    """Store each matrix as the cheapest of dense, gathered, low rank and packed low rank."""

    kind: Literal["rnn-svd"]
    threshold: float | None = Field(None, gt=0, lt=1, description="σ/σ_1 that is kept")
    energy: float | None = Field(None, gt=0, le=1, description="share of Σσ² that is kept")
    parameters: float | None = Field(
        None, gt=0, lt=1, description="share of the baseline's parameters, met by one energy"
    )
    cost: Literal["count", "time"] = Field(
        "count", description="parameters, or microseconds measured in the TFLite runtime"
    )
    vectors: int = Field(
        1, gt=0, description="in one invocation when time is measured, as the sub-bands of a frame"
    )
    scheme: Literal["fp32", "dynamic-int8", "static-int8"] = Field(
        "fp32", description="numbers in which time is measured"
    )
    keep: tuple[str, ...] = Field((), description="patterns of matrix names that stay as they are")

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if sum(limit is not None for limit in (self.threshold, self.energy, self.parameters)) != 1:
            raise ValueError("give one of threshold, energy and parameters")
        if self.parameters is not None and self.cost == "time":
            raise ValueError('parameters are met by count: leave cost = "time" to the other limits')
        return self
