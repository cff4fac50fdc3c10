"""Train a network as a step's table says, with the teacher and the losses of its `distil`."""

from pathlib import Path

from torch import nn

from compress.distillation import guided
from compress.stages.base import Context
from compress.steps import Tuning
from compress.train import Companion, Epoch, fit


def tune(
    context: Context,
    net: nn.Module,
    step: Tuning,
    label: str,
    *,
    companion: Companion | None = None,
    seed: int | None = None,
    checkpoint: Path | None = None,
) -> list[Epoch]:
    """`fit` with the step's teacher; seed and checkpoint are the stage's unless given.

    Raises:
        FieldwrenError: no such teacher or layer, or the loss is not finite.
    """
    teacher, example = context.teacher, context.example
    with guided(step.distil, net, context.task, teacher, example, companion) as guide:
        return fit(
            context.task,
            net,
            step,
            seed=context.seed if seed is None else seed,
            checkpoint=context.checkpoint if checkpoint is None else checkpoint,
            label=label,
            teacher=guide.teacher,
            companion=guide.companion,
            views=step.views,
        )
