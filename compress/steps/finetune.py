"""kind = "finetune": train further."""

from typing import Literal

from compress.steps.base import Tuning


class Finetune(Tuning):
    """Train the network further."""

    kind: Literal["finetune"]
