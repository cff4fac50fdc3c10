"""kind = "rnn-columns": remove columns of recurrent matrices by a score."""

from typing import Literal

from pydantic import Field

from device.manifest import Frozen


class RnnColumns(Frozen):
    """Remove the columns of each gate's matrix that a criterion scores lowest."""

    kind: Literal["rnn-columns"]
    criterion: Literal["l1", "influence", "random"]
    ratio: float = Field(
        gt=0, lt=1, description="share of every matrix's columns that is to be gone"
    )
    keep: tuple[str, ...] = Field((), description="patterns of layer names that stay whole")
