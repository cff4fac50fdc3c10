"""kind = "fake-prune": search the pruning ratio of every group of a trained network."""

from typing import Literal

from pydantic import Field

from compress.steps.search import Rewards


class FakePrune(Rewards):
    """Ratios by a controller that is rewarded for them; then the channels go."""

    kind: Literal["fake-prune"]
    ratio: Literal["sum", "macs", "parameters", "bytes", "milliseconds"] = Field(
        "sum",
        description="of the shares of channels that go, after rounding; or the share saved "
        "(compress/costs), times the groups",
    )
    epochs: int = Field(10, gt=0, description="of controller_steps each; nothing is trained")
    round_to: int = Field(8, gt=0, description="channel counts are rounded up to multiples of this")
    keep: tuple[str, ...] = Field((), description="as of prune")
    batches: int = Field(
        50, gt=0, description="training batches that choose channels and recalibrate batch norm"
    )
