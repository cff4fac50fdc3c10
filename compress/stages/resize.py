"""Go on with pictures of another size; a teacher keeps the size it was trained with.

The network stays as it is. Multiply-accumulates go with the square of the size, so the input is
one more ratio to choose beside channels (M. Tan, Q. Le, "EfficientNet: Rethinking Model Scaling
for Convolutional Neural Networks", ICML 2019, scale it together with depth and width).
"""

from typing import Protocol, runtime_checkable

from torch import nn

from compress.stages.base import Context, Outcome, same
from compress.steps import Resize
from compress.task import Task
from device.errors import BadInputError

rebuild = same


@runtime_checkable
class Resizable(Protocol):
    """A task on pictures."""

    def resized(self, size: int, train_size: int) -> Task:
        """The same problem on pictures of another size.

        Raises:
            BadInputError: a size that the network cannot have.
        """
        ...


def view(task: Task, step: object) -> Task:
    """The task as it is after a step: another one after a resize.

    Raises:
        BadInputError: a task without pictures, or a size that the network cannot have.
    """
    if not isinstance(step, Resize):
        return task
    if not isinstance(task, Resizable):
        raise BadInputError(f"resize: a task that makes {task.kind!r} has no pictures")
    return task.resized(step.size, step.train_size)


def run(context: Context, net: nn.Module, step: Resize) -> Outcome:
    """Nothing to do: the context's task already has the size."""
    return Outcome()
