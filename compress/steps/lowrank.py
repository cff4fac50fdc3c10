"""kind = "lowrank": replace convolutions by products of small ones."""

from typing import Literal, Self

from pydantic import Field, model_validator

from device.manifest import Frozen

BUDGETS = ("macs", "latency")


class LowRank(Frozen):
    """Factorise every convolution that gets cheaper by it; grouped ones are left alone."""

    kind: Literal["lowrank"]
    form: Literal["channel", "spatial", "tucker", "cp"]
    rank: Literal["energy", "vbmf", "macs", "latency"] = "energy"
    energy: float | None = Field(None, gt=0, le=1, description="share of ΣW² kept; rank = energy")
    share: float | None = Field(
        None, gt=0, lt=1, description="of the layer's cost; rank = macs or latency"
    )
    scheme: Literal["fp32", "dynamic-int8", "static-int8"] = Field(
        "fp32", description="numbers in which latency is measured"
    )
    round_to: int = Field(8, gt=0, description="ranks are rounded up to multiples of this")
    keep: tuple[str, ...] = Field(
        (), description="patterns of layer names, as of files: such layers stay dense"
    )

    @model_validator(mode="after")
    def _rule_and_number(self) -> Self:
        if (self.energy is not None) != (self.rank == "energy"):
            raise ValueError("energy belongs to rank = energy, and to no other rule")
        if (self.share is not None) != (self.rank in BUDGETS):
            raise ValueError("share belongs to rank = macs and rank = latency, and to no other")
        return self
