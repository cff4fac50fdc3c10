"""What a stage gets and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from compress.cicr import Probe
from compress.prune import Plan
from compress.task import Task
from compress.train import Epoch


@dataclass(frozen=True)
class Context:
    """What is the same for all stages of one run, and where this one keeps its checkpoint."""

    task: Task
    seed: int
    example: Tensor
    teacher: nn.Module | None  # the trained baseline; None while that is being made
    checkpoint: Path


@dataclass(frozen=True)
class Outcome:
    """What a stage found out; the network itself was changed in place."""

    log: tuple[Epoch, ...] = ()
    plan: Plan | None = None
    mask_error: float | None = None
    probes: tuple[Probe, ...] = ()


# (context, network to change in place, the stage's table of the recipe) → outcome
Stage = Callable[[Context, nn.Module, Any], Outcome]
