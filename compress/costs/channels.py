"""Channels that are left, of all groups together: the cost behind `ratio`."""

from torch import nn

from compress.costs.base import Subject
from compress.prune import Plan


class Channels:
    """A Cost; every group's channels count one each."""

    def __init__(self, subject: Subject) -> None:
        pass

    def predicted(self, plan: Plan) -> float:
        return sum(cut.kept for cut in plan.cuts)

    def measured(self, plan: Plan, net: nn.Module) -> float:
        return self.predicted(plan)
