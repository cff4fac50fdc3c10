"""[search]: find cells and ratios before the baseline is trained."""

from typing import Literal, Self

from pydantic import Field, model_validator

from compress.precision import Precision
from device.manifest import Frozen


class Rewards(Frozen):
    """How candidates are drawn, evaluated and rewarded."""

    alpha: float = Field(0.02, ge=0, description="weight of Ratio")
    beta: float = Field(20.0, ge=0, description="weight of Gap")
    sampler: Literal["controller", "random"] = Field(
        "controller", description="random: the control that learns nothing"
    )
    controller_steps: int = Field(30, gt=0, description="an epoch")
    samples: int = Field(10, gt=0, description="a controller step")
    batch: int = Field(160, gt=0, description="examples of the minibatch a candidate is judged on")
    finalists: int = Field(
        10,
        gt=0,
        description="best draws, of the last epoch if weights are trained in between, judged on "
        "all whole minibatches of the validation split",
    )
    precision: Precision = Field(
        "bf16-mixed", description="float32 all the same where bfloat16 is emulated"
    )


class Search(Rewards):
    """Architecture and ratios by ENAS with fake pruning; the child's training is ENAS's."""

    kind: Literal["enas"]
    decide: Literal["both", "cells", "ratios"] = Field(
        "both", description="cells alone, or the ratios of the model's own architecture"
    )
    ratio: Literal["sum", "macs", "latency"] = Field(
        "sum", description="of the decisions, or what is saved, see compress/enas/cost.py"
    )
    epochs: int = Field(150, gt=0)
    lr: float = Field(0.05, gt=0, description="at every restart, falling to lr_min by a cosine")
    lr_min: float = Field(0.0005, gt=0)
    restart: int = Field(10, gt=0, description="epochs to the first; each period is twice as long")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov")
    weight_decay: float = Field(1e-4, ge=0)
    clip: float = Field(5.0, gt=0, description="largest gradient norm")

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if self.lr_min > self.lr:
            raise ValueError("lr_min is above lr: the rate falls from lr to lr_min")
        return self
