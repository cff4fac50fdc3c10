"""Train the uncompressed network."""

from torch import nn

from compress.stages.base import Context, Outcome, same
from compress.steps import Schedule
from compress.task import Task
from compress.train import fit
from device.errors import BadInputError
from models.enas import Enas

rebuild = same


def check(task: Task, net: nn.Module, searched: bool) -> None:
    """Before anything is trained.

    Raises:
        BadInputError: the model is a space of cells, and no [search] makes it a child.
    """
    if isinstance(net, Enas) and net.architecture is None and not searched:
        raise BadInputError('a model of kind = "enas" needs an architecture, or a [search]')


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
