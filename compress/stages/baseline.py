"""Train the uncompressed network."""

from torch import nn

from compress.recipe import Schedule
from compress.stages.base import Context, Outcome
from compress.train import fit


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
