"""The shape every criterion has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Group = Any  # torch_pruning.dependency.Group, which publishes no types


@dataclass(frozen=True)
class Statistics:
    """What a criterion may know beside the weights."""

    seed: int


Criterion = Callable[[Group, Statistics], Tensor]
