"""What a stage gets and what it gives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import JsonValue
from torch import Tensor, nn

from compress import prune
from compress.cicr import Probe
from compress.figures import Figure
from compress.prune import Plan
from compress.store import Record
from compress.task import Task
from compress.train import Epoch
from compress.workers import HERE, Workers


@dataclass(frozen=True)
class Context:
    """What is the same for all stages of one run, and where this one keeps its checkpoint."""

    task: Task
    seed: int
    example: Tensor
    teacher: nn.Module | None  # the trained baseline; None while that is being made
    checkpoint: Path
    workers: Workers = HERE  # for evaluations that do not depend on each other


@dataclass(frozen=True)
class Outcome:
    """What a stage found out; the network itself was changed in place."""

    log: tuple[Epoch, ...] = ()
    plan: Plan | None = None
    mask_error: float | None = None
    probes: tuple[Probe, ...] = ()
    structure: JsonValue = None  # what `rebuild` needs beside the plan
    figures: tuple[Figure, ...] = ()
    before: float = 0.0  # seconds that interrupted runs spent on it, if neither log nor probes say


class Stage(Protocol):
    """A module of this package."""

    def run(self, context: Context, net: nn.Module, step: Any) -> Outcome:
        """Change `net` in place as the step's table says."""
        ...

    def rebuild(self, net: nn.Module, example: Tensor, record: Record) -> None:
        """Give `net`, as it was before the stage, the shapes it had after; weights come later."""
        ...


def same(net: nn.Module, example: Tensor, record: Record) -> None:
    """`rebuild` of a stage that changes weights alone."""


def cut(net: nn.Module, example: Tensor, record: Record) -> None:
    """`rebuild` of a stage that removes the channels of a plan."""
    assert record.plan is not None
    prune.remove(net, example, record.plan)
