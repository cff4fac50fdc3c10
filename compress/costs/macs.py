"""Multiply-accumulates of one forward pass of the example."""

from torch import nn

from compress import count
from compress.costs.base import Subject
from compress.passes import inputs
from compress.prune import Plan


class Macs:
    """A Cost; predictions are exact."""

    def __init__(self, subject: Subject) -> None:
        self._sizes, self._inputs = subject.sizes(), inputs(subject.example)
        self._whole = count.macs(subject.net, *self._inputs)

    def predicted(self, plan: Plan) -> float:
        after = self._sizes.after(plan)
        layers = self._sizes.layers.values()
        return self._whole - sum(x.macs * (1 - x.share(after[x.name])) for x in layers)

    def measured(self, plan: Plan, net: nn.Module) -> float:
        return count.macs(net, *self._inputs)
