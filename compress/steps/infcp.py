"""kind = "infcp": learn which channels go."""

from typing import Literal, Self

from pydantic import Field, model_validator

from compress.steps.base import Budget, Tuning


class InfCp(Tuning, Budget):
    """Train the network together with gates that learn which channels go, then remove those."""

    kind: Literal["infcp"]
    factor: float = Field(5.0, gt=0, description="of λ, the pressure towards the budget")
    gate_lr: float = Field(0.03, gt=0, description="Adam, constant")
    window: int = Field(50, gt=0, description="steps over which a gate's mean counts")
    closing: float = Field(
        0.0, ge=0, lt=1, description="last share of the steps, in which what goes is shut slowly"
    )
    beta: Literal["geometric", "automatic"] = Field(
        "geometric", description="growth of the gates' steepness; automatic needs no beta_end"
    )
    beta_start: float = Field(0.05, gt=0)
    beta_end: float = Field(4.0, gt=0)

    @model_validator(mode="after")
    def _steepening(self) -> Self:
        if self.beta == "geometric" and self.beta_start > self.beta_end:
            raise ValueError("beta_start is above beta_end: gates steepen while they learn")
        return self
