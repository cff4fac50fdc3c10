"""Train a pruned network further, on request with the baseline as its teacher."""

from torch import nn

from compress.stages.base import Context, Outcome, same
from compress.steps import Finetune
from compress.train import fit

rebuild = same


def run(context: Context, net: nn.Module, step: Finetune) -> Outcome:
    """Train to the last epoch; with `distil`, the task mixes in the teacher's answers."""
    log = fit(
        context.task,
        net,
        step,
        seed=context.seed,
        checkpoint=context.checkpoint,
        label="fine-tune",
        teacher=context.teacher if step.distil else None,
    )
    return Outcome(log=tuple(log))
