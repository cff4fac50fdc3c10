"""The shape every cost has."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import nn

from compress.passes import Example
from compress.prune import Plan
from compress.sizes import Sizes
from compress.task import Deployed


@dataclass(frozen=True)
class Subject:
    """The network whose plans are to be priced."""

    net: nn.Module
    example: Example
    groups: Plan  # whose cuts are the groups
    deploy: Callable[[nn.Module], Deployed]  # its exported form; called when files are needed
    times: Path | None = None  # where a cost that measures keeps what it measured

    def sizes(self) -> Sizes:
        """What plans leave of its layers."""
        return Sizes(self.net, self.example, self.groups)


class Cost(Protocol):
    """What a pruned network costs, in one unit."""

    def predicted(self, plan: Plan) -> float:
        """For a plan, in microseconds: searches ask for thousands."""
        ...

    def measured(self, plan: Plan, net: nn.Module) -> float:
        """Of the network that a plan left; equal to the prediction where that is exact."""
        ...
