"""Evaluations in this process, one after the other."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic

from compress.workers.base import Item, Result, Shared, Value, call


@dataclass(frozen=True)
class Here(Generic[Value]):
    """A value that is already where it is needed."""

    value: Value

    def get(self) -> Value:
        return self.value


@dataclass(frozen=True)
class InProcess:
    """Workers (compress/workers/base.py) without a cluster."""

    count: int = 1

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        todo = tuple(items)
        return (call(function, item) for item in todo)

    def share(self, value: Value) -> Shared[Value]:
        return Here(value)


HERE = InProcess()
