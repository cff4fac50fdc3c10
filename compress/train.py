"""The training loop: deterministic from (recipe, data, seed), and resumable after any epoch."""

import logging
import math
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn

from compress import distributed, tensors
from compress.precision import usable
from compress.remembered import Remembered
from compress.resting import constant
from compress.steps import Schedule
from compress.strided import subsampled
from compress.task import Task
from device.errors import BadInputError, FieldwrenError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

EPOCH_SEEDS = 1_000_003  # epochs of different seeds never share random numbers


@dataclass(frozen=True)
class Epoch:
    """One line of the training log; `scores` are those of the validation split."""

    epoch: int
    lr: float
    loss: float
    scores: dict[str, float]
    seconds: float


class Companion(Protocol):
    """What learns beside a network, from the same batches: own parameters, loss and optimizer."""

    def to(self, device: torch.device) -> Any:
        """Move to where the network is, and back."""
        ...

    def loss(self) -> Tensor:
        """Added to the task's loss of every batch."""
        ...

    def step(self) -> None:
        """Called once a batch, when the network has its gradients, before it moves."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers for the checkpoint."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Go on from a checkpoint."""
        ...


def fit(
    task: Task,
    net: nn.Module,
    schedule: Schedule,
    *,
    seed: int,
    checkpoint: Path,
    label: str,
    teacher: nn.Module | None = None,
    companion: Companion | None = None,
    views: int | None = None,
) -> list[Epoch]:
    """Train `net` in place to the last epoch and return the log.

    After `views` epochs their batches come again, random numbers and all, and the teacher is not
    asked about them again (compress/remembered.py).

    The state after each epoch is written to `checkpoint`; if it exists, training goes on from
    there and ends with the same weights as without the interruption. The caller removes it.

    It is trained on the accelerator there is, and ends on the CPU, as do teacher and companion.

    Where several processes train together (compress/distributed.py), each learns from its part of
    every batch; normalisation takes its statistics from that part. All end with the same weights.

    Raises:
        FieldwrenError: the loss, or a gradient that is clipped, is not finite.
        BadInputError: several processes cannot share a batch equally, or have a companion; or
            `checkpoint` is damaged.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision
    fabric = distributed.fabric(schedule.precision)
    if usable(schedule.precision) != schedule.precision:
        print(f"{label}: in float32, since this processor would emulate bfloat16")
    if companion is not None and distributed.count() > 1:
        raise BadInputError(f"{label}: what learns beside the network does so in one process only")
    if schedule.channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(net, task.head(net), schedule)
    quick = _compiled(net, label) if schedule.compiled else net
    model, wrapped = fabric.setup(quick, optimizer)
    if companion is not None:
        companion.to(fabric.device)
    log: list[Epoch] = []
    if checkpoint.exists():  # after all are where they train: a state goes where its weights are
        with tensors.stored(checkpoint) as state:
            net.load_state_dict(state["net"])
            optimizer.load_state_dict(state["optimizer"])
            if companion is not None:
                companion.load_state_dict(state["companion"])
            log = [Epoch(**entry) for entry in state["log"]]
        print(f"{label}: resuming after epoch {len(log)} of {schedule.epochs}")
    guide: nn.Module | None = None
    if teacher is not None:
        guide = distributed.alone(fabric, schedule.precision).setup_module(teacher)
        if views is not None:
            guide = Remembered(guide)
    steps = task.steps()
    # whoever lent the teacher may train copies of it afterwards
    unchanged = nullcontext() if teacher is None else constant(teacher)
    with unchanged, _progress() as progress, subsampled(net):
        total = schedule.epochs * steps
        bar = progress.add_task(label, total=total, completed=len(log) * steps, score="")
        for epoch in range(len(log), schedule.epochs):
            started = perf_counter()
            shown = epoch if views is None else epoch % views
            torch.manual_seed(seed * EPOCH_SEEDS + shown)
            model.train()
            summed = 0.0
            for index, batch in enumerate(task.batches(shown, seed)):
                factor = rate(epoch * steps + index, steps, schedule)
                for parameters in optimizer.param_groups:
                    parameters["lr"] = parameters["peak"] * factor
                placed = tuple(fabric.to_device(part) for part in distributed.part(batch))
                if isinstance(guide, Remembered):
                    guide.turn(shown, index)
                loss = task.loss(model, placed, guide)
                if companion is not None:
                    loss = loss + companion.loss()
                wrapped.zero_grad()
                fabric.backward(loss)
                if companion is not None:
                    companion.step()
                if schedule.clip is not None:
                    summed += clip(fabric, model, wrapped, schedule.clip)
                wrapped.step()
                summed += float(loss.detach())
                progress.advance(bar)
            summed = distributed.mean(summed)
            if not math.isfinite(summed):
                raise FieldwrenError(
                    f"{label}: loss or gradients are not finite in epoch {epoch + 1}: lower lr"
                )
            distributed.agree(net)
            model.eval()
            quality = task.evaluate(net, "validation")
            seconds = perf_counter() - started
            lr = schedule.lr * rate((epoch + 1) * steps, steps, schedule)
            log.append(Epoch(epoch + 1, lr, summed / steps, dict(quality.scores), seconds))
            if distributed.first():
                _save(checkpoint, net, optimizer, companion, log)
            progress.update(bar, score=f"{quality.primary} {quality.value:.2f}")
            if not progress.console.is_terminal:
                progress.console.print(
                    f"{label}: epoch {epoch + 1}/{schedule.epochs} loss {summed / steps:.4f} "
                    f"{quality.primary} {quality.value:.2f} ({seconds:.0f} s)",
                    highlight=False,
                )
    net.eval()
    net.cpu()  # what comes after measures it beside a CPU example
    if teacher is not None:
        teacher.cpu()
    if companion is not None:
        companion.to(torch.device("cpu"))
    return log


def _compiled(net: nn.Module, label: str) -> nn.Module:
    """Compiled at its first batch, with the same weights, or as it is without a compiler."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        print(f"{label}: not compiled, which is slower: there is no {compiler}")
        return net
    return cast(nn.Module, torch.compile(net))


def clip(fabric: "Fabric", net: nn.Module, optimizer: Any, largest: float) -> float:
    """Clip the gradients to a norm; 0 for the sum of losses, NaN if that norm was not finite.

    Fabric would raise, and only where it happens. The sum is checked at the end of the epoch, when
    all processes know it.
    """
    norm = fabric.clip_gradients(net, optimizer, max_norm=largest, error_if_nonfinite=False)
    assert norm is not None  # of values clipped one by one there is none
    return 0.0 * float(norm)  # 0 · ∞ is NaN


def spent(checkpoint: Path) -> float:
    """Seconds of the epochs that an interrupted training left in its checkpoint, 0 without one."""
    if not checkpoint.exists():
        return 0.0
    with tensors.stored(checkpoint) as state:
        return float(sum(entry["seconds"] for entry in state["log"]))


def rate(step: int, steps: int, schedule: Schedule) -> float:
    """Learning rate over its peak at a training step, `steps` to an epoch."""
    warmup = schedule.warmup * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1.0, schedule.epochs * steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _optimizer(
    net: nn.Module, head: Iterable[nn.Module], schedule: Schedule
) -> torch.optim.Optimizer:
    of_head = {id(parameter) for layer in head for parameter in layer.parameters()}
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for parameter in net.parameters():
        answer, matrix = id(parameter) in of_head, parameter.ndim > 1
        peak = schedule.lr * (schedule.head_lr if answer else 1.0)
        entry = {
            "params": [],
            "peak": peak,
            "lr": peak,
            "weight_decay": schedule.weight_decay if matrix else 0.0,
        }
        groups.setdefault((answer, matrix), entry)["params"].append(parameter)
    if schedule.optimizer == "adamw":
        return torch.optim.AdamW(groups.values(), lr=schedule.lr)
    return torch.optim.SGD(
        groups.values(), lr=schedule.lr, momentum=schedule.momentum, nesterov=schedule.momentum > 0
    )


def _save(
    checkpoint: Path,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    companion: Companion | None,
    log: list[Epoch],
) -> None:
    state = {
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "companion": None if companion is None else companion.state_dict(),
        "log": [asdict(entry) for entry in log],
    }
    tensors.save(checkpoint, state)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[score]}"),
    )
