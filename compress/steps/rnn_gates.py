"""kind = "rnn-gates": learn which columns of recurrent matrices go."""

from typing import Literal, Self

from pydantic import Field, model_validator

from compress.steps.base import Tuning


class RnnGates(Tuning):
    """Train the network with one gate over the columns of each gate's matrix, then remove those."""

    kind: Literal["rnn-gates"]
    ratio: float = Field(gt=0, lt=1, description="share of every matrix's columns that goes")
    keep: tuple[str, ...] = Field((), description="patterns of layer names that stay whole")
    factor: float = Field(5.0, gt=0, description="of λ, the pressure towards the budget")
    gate_lr: float = Field(0.03, gt=0, description="Adam, constant")
    window: int = Field(50, gt=0, description="steps over which a gate's mean counts")
    closing: float = Field(
        0.0, ge=0, lt=1, description="last share of the steps, in which what goes is shut slowly"
    )
    beta: Literal["geometric", "automatic"] = Field(
        "geometric", description="growth of the gates' steepness; automatic needs no beta_end"
    )
    beta_x: float = Field(0.15, gt=0, description="at the start, for columns of inputs")
    beta_h: float = Field(0.15, gt=0, description="at the start, for columns of units")
    beta_end: float = Field(4.0, gt=0)

    @model_validator(mode="after")
    def _steepening(self) -> Self:
        for name in ("beta_x", "beta_h"):
            if self.beta == "geometric" and getattr(self, name) > self.beta_end:
                raise ValueError(f"{name} is above beta_end: gates steepen while they learn")
        return self
