"""What an executor of independent evaluations offers."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")
Held = TypeVar("Held", covariant=True)

START = 0  # torch's seed at the start of every call


class Shared(Protocol[Held]):
    """A value that many calls read, sent to every machine once. It is not changed any more."""

    def get(self) -> Held:
        """The value; called inside the function that was mapped."""
        ...


class Workers(Protocol):
    """Where evaluations are done."""

    @property
    def count(self) -> int:
        """Evaluations that run at the same time."""
        ...

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of `items`, each as soon as it and those before it are there.

        All items are read before the first call. What the function raises is raised here, in the
        place of its result; whatever has not been finished then, or when the iterator is dropped,
        is given up.
        """
        ...

    def share(self, value: Value) -> Shared[Value]:
        """A handle on a large value (data, weights) to bind to functions in its place."""
        ...


def call(function: Callable[[Item], Result], item: Item) -> Result:
    """One evaluation. The caller's random numbers go on as if it had not been made."""
    with torch.random.fork_rng():
        torch.manual_seed(START)
        return function(item)
