"""What a search asks of a task: the score of a network on one validation minibatch."""

from typing import Protocol, cast, runtime_checkable

from torch import Tensor, nn

from compress.task import Batch, Task
from device.errors import BadInputError


@runtime_checkable
class Graded(Protocol):
    """Part of a task (compress/task.py) that can be searched on."""

    def minibatches(self, size: int) -> int:
        """Whole minibatches of the validation split; at least one."""
        ...

    def minibatch(self, number: int, size: int) -> Batch:
        """One of an endless sequence: the split is shuffled anew after every pass."""
        ...

    def grade(self, net: nn.Module, batch: Batch) -> float:
        """Score of one batch as a fraction of what is good: accuracy, or what stands for it."""
        ...


class Searchable(Graded, Task, Protocol):
    """A task that can be searched on."""


def searchable(task: Task) -> Searchable:
    """The task as one that can be searched on.

    Raises:
        BadInputError: it grades no minibatches.
    """
    if not isinstance(task, Graded):
        raise BadInputError(f"the {task.kind} task grades no minibatches, so it has no search")
    return cast(Searchable, task)


def placed(batch: Batch, net: nn.Module) -> tuple[Tensor, ...]:
    """A batch where the network is."""
    device = next(net.parameters()).device
    return tuple(part.to(device) for part in batch)
