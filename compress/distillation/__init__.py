"""Distillation: a network learns from another, its answers and what goes on inside.

logits       softened answers of a classifier           hints      FitNets
enhancement  masks and sounds of an enhancer            attention  attention transfer
teachers     frozen teachers from files                 cache      their answers on disk
classifiers, enhancers, onnx   what those files are     sources    fingerprints of them

`guided` turns a step's `distil` into what a training loop takes: a teacher and a companion.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from compress.distillation import attention, enhancement, hints, logits, teachers
from compress.distillation.attention import Attention
from compress.distillation.cache import Cached
from compress.distillation.hints import Hints
from compress.distillation.sources import BASELINE, fingerprint
from compress.steps.base import Distil
from compress.task import Task
from compress.train import Companion
from device.errors import BadInputError

DISTILLATIONS = {
    "logits": logits,
    "hints": hints,
    "attention": attention,
    "enhancement": enhancement,
}


@runtime_checkable
class Hearing(Protocol):
    """A task that has no bundle form, but whose networks hear waveforms, as such teachers do."""

    def rate(self) -> int:
        """Hz."""
        ...


@dataclass(frozen=True)
class Guide:
    """What `compress.train.fit` gets for a step."""

    teacher: nn.Module | None
    companion: Companion | None


class Together:
    """Several companions as one."""

    def __init__(self, companions: Sequence[Companion]) -> None:
        self.companions = tuple(companions)

    def to(self, device: torch.device) -> "Together":
        for companion in self.companions:
            companion.to(device)
        return self

    def loss(self) -> Tensor:
        """The sum of their losses."""
        return torch.stack([companion.loss() for companion in self.companions]).sum()

    def step(self) -> None:
        for companion in self.companions:
            companion.step()

    def state_dict(self) -> dict[str, Any]:
        return {str(i): companion.state_dict() for i, companion in enumerate(self.companions)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for index, companion in enumerate(self.companions):
            companion.load_state_dict(state[str(index)])


@contextmanager
def guided(
    distil: bool | Distil,
    net: nn.Module,
    task: Task,
    baseline: nn.Module | None,
    example: Tensor,
    own: Companion | None = None,
) -> Iterator[Guide]:
    """The teacher and the companions of one training; hooks go when it is over.

    `own` is a companion the training has anyway.

    Raises:
        BadInputError: no such teacher, layers that are not there, or a look into a file.
    """
    if distil is False:
        yield Guide(None, own)
        return
    table = Distil() if distil is True else distil
    teacher = baseline if table.teacher == BASELINE else _from_file(table, net, task)
    inside: list[Hints | Attention] = []
    try:
        if (table.hints or table.attention) and table.teacher != BASELINE:
            raise BadInputError(
                f"distil.teacher: {table.teacher} is a file, and hints and attention look inside "
                'a network: only "baseline" can teach them'
            )
        if teacher is not None and table.hints:
            inside.append(
                Hints(
                    net,
                    teacher,
                    table.hints,
                    weight=table.hint_weight,
                    lr=table.hint_lr,
                    example=example,
                )
            )
        if teacher is not None and table.attention:
            inside.append(
                Attention(
                    net,
                    teacher,
                    table.attention,
                    weight=table.attention_weight,
                    example=example,
                )
            )
        companions = [*([own] if own else []), *inside]
        yield Guide(teacher, Together(companions) if companions else None)
    finally:
        for companion in inside:
            companion.close()


def _from_file(table: Distil, net: nn.Module, task: Task) -> nn.Module:
    path = Path(table.teacher).expanduser()
    labels = None if table.labels is None else Path(table.labels).expanduser()
    if isinstance(task, Hearing):
        teacher, asked = teachers.enhancer(path, task.rate()), f"{task.rate()} Hz"
    elif task.kind in ("classify", "enhance"):
        student = task.deploy(net)
        teacher = teachers.load(path, labels, student)
        asked = f"{student.labels} {student.preprocessing}"  # answers are in the student's terms
    else:
        raise BadInputError(
            f'distil.teacher: {path}: this task learns from its own "baseline" only: no file '
            "answers as its networks do"
        )
    if table.cache is None:
        return teacher
    name = f"{fingerprint(table)[:16]}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}.sqlite"
    return Cached(teacher, Path(table.cache).expanduser() / name)
