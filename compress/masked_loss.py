"""What the loss would be without some channels: masked, norms recalibrated, nothing trained."""

import math
from functools import cached_property

import torch
from torch import nn

from compress import prune
from compress.passes import Example
from compress.prune import Plan
from compress.recalibration import recalibrate
from compress.refused import few
from compress.statistics import Calibration, count, part
from compress.task import Batch
from device.errors import FieldwrenError

IMAGES = 256  # calibration images that are looked at


class MaskedLoss:
    """Mean loss on the first IMAGES calibration images without a plan's channels.

    In evaluation mode, with norms recalibrated on the same images, as after any pruning: what the
    channels' absence does to later norms is repaired for nothing and should not count. The images
    are made once, and no plan is measured twice.
    """

    def __init__(self, net: nn.Module, example: Example, calibration: Calibration | None) -> None:
        self._net, self._example, self._calibration = net, example, calibration
        self._known: dict[Plan, float] = {}

    def __call__(self, plan: Plan) -> float:
        """The loss under a plan's masks.

        Raises:
            FieldwrenError: there is no data, or the loss is not finite.
        """
        if plan not in self._known:
            self._known[plan] = self._measured(plan)
        return self._known[plan]

    def _measured(self, plan: Plan) -> float:
        parts, loss = self._parts, self._data.loss
        masked = prune.mask(prune.copied(self._net), self._example, plan)
        recalibrate(masked, loss, parts)
        with torch.no_grad():
            summed = sum(float(loss(masked, batch)) * count(batch) for batch in parts)
        if not math.isfinite(summed):
            layers = few([cut.layer for cut in plan.cuts if cut.removed])
            where = f" without channels of {layers}" if layers else ""
            raise FieldwrenError(
                f"the calibration's loss{where} is {summed}: look for NaN and infinity in its "
                "inputs and in the weights"
            )
        return summed / sum(count(batch) for batch in parts)

    @property
    def _data(self) -> Calibration:
        if self._calibration is None:
            raise FieldwrenError("this scope measures losses: it needs calibration data")
        return self._calibration

    @cached_property
    def _parts(self) -> list[Batch]:
        parts: list[Batch] = []
        left = IMAGES
        for batch in self._data.batches():
            parts.append(part(batch, 0, left))
            left -= count(parts[-1])
            if left <= 0:
                break
        if len(parts) > 1 and count(parts[-1]) == 1:
            parts.pop()  # of one example a norm may find no statistics
        return parts
