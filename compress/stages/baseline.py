"""Train the uncompressed network."""

from torch import nn

from compress.stages.base import Context, Outcome, same
from compress.steps import Schedule
from compress.train import fit

rebuild = same


def run(context: Context, net: nn.Module, step: Schedule) -> Outcome:
    """Train from the task's fresh or published weights to the last epoch."""
    log = fit(
        context.task,
        net,
        step,
        seed=context.seed,
        checkpoint=context.checkpoint,
        label="baseline",
    )
    return Outcome(log=tuple(log))
