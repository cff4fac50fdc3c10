"""The shape every criterion has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from compress.statistics import Calibration, Found, PerLayer
from device.errors import FieldwrenError

Group = Any  # torch_pruning.dependency.Group, which publishes no types


@dataclass(frozen=True)
class Statistics:
    """What a criterion may know beside the weights."""

    seed: int
    calibration: Calibration | None = None

    def found(self, gather: Callable[[Calibration, int], PerLayer]) -> Found:
        """What a criterion measures on data, for all layers at once.

        Raises:
            FieldwrenError: there is no data.
        """
        if self.calibration is None:
            raise FieldwrenError("this criterion looks at data: Statistics needs a calibration")
        return self.calibration.once(gather, self.seed)


Criterion = Callable[[Group, Statistics], Tensor]
