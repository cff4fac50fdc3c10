"""kind = "cicr": search for one contribution rate."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from compress.steps.base import Tuning, known_criterion
from device.manifest import Frozen


class Cicr(Frozen):
    """Prune as far as the score allows: one contribution rate for all layers, by bisection."""

    kind: Literal["cicr"]
    criterion: str = Field(
        "permutation-expected", description="whose scores are contributions, never negative"
    )
    acc_loss: float = Field(1.0, gt=0, description="of the primary validation score, in its units")
    limits: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {},
        description="largest loss of further validation scores, those of which more is better, by "
        "name: pesq_wb = 0.02; what an evaluation leaves out for its cost is then scored as well",
    )
    interval: float = Field(0.01, ge=1e-4, lt=1, description="resolution of the rate: 7 probes")
    recheck: bool = Field(
        False, description="doubt the last two decisions if they are close to the threshold"
    )
    margin: float | None = Field(
        None,
        gt=0,
        description="what recheck calls close; else the standard error of a classifier's accuracy "
        "on its validation photos, acc_loss of any other score",
    )
    round_to: int = Field(8, gt=0, description="channel counts are rounded up to multiples of this")
    keep: tuple[str, ...] = Field((), description="as of prune")
    finetune: Tuning = Field(
        Tuning(epochs=1, lr=1e-3, optimizer="adamw", warmup=0.1),
        description="short training of every probe; AdamW, since one rate fits most networks",
    )

    _known = field_validator("criterion")(known_criterion)

    @model_validator(mode="after")
    def _doubting(self) -> Self:
        if self.margin is not None and not self.recheck:
            raise ValueError("margin: nothing is doubted without recheck = true")
        return self
