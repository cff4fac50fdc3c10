"""torch_pruning's own importances as criteria, so that recipes can name them beside ours.

They get what its documentation gives them: weights alone, gradients summed over batches (Taylor),
or squared gradients of single examples (Hessian); the calibration batches are those of our
criteria.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch_pruning as tp
from torch import Tensor, nn

from compress.criteria import CRITERIA
from compress.criteria.base import Group, Statistics
from compress.statistics import Calibration, PerLayer

EXAMPLES = 128  # single examples for the Hessian, as many as our OBD takes

Importance = Callable[[Group], Tensor]


def by_weights(make: Callable[[], Importance]) -> Callable[[Group, Statistics], Tensor]:
    """An importance that looks at weights alone."""
    return lambda group, statistics: make()(group)


def taylor(group: Group, statistics: Statistics) -> Tensor:
    """GroupTaylorImportance on gradients summed over the calibration batches."""
    with _as_gradients(statistics.found(_summed)):
        found: Tensor = tp.importance.GroupTaylorImportance()(group)
    return found


def hessian(group: Group, statistics: Statistics) -> Tensor:
    """GroupHessianImportance on squared gradients of single examples, averaged."""
    with _as_gradients(statistics.found(_squared)):
        found: Tensor = tp.importance.GroupHessianImportance()(group)
    return found


@contextmanager
def _as_gradients(found: PerLayer) -> Iterator[None]:
    """Inside, parameters have what was measured as their gradient."""
    try:
        for layer, values in found.items():
            parameters = list(layer.parameters(recurse=False))
            sizes = [parameter.numel() for parameter in parameters]
            for parameter, part in zip(parameters, torch.split(values, sizes), strict=True):
                parameter.grad = part.view_as(parameter)
        yield
    finally:
        for layer in found:
            for parameter in layer.parameters(recurse=False):
                parameter.grad = None


def _summed(calibration: Calibration, seed: int) -> PerLayer:
    return _totals(calibration, None, 1)


def _squared(calibration: Calibration, seed: int) -> PerLayer:
    return {layer: s / EXAMPLES for layer, s in _totals(calibration, EXAMPLES, 2).items()}


def _totals(calibration: Calibration, examples: int | None, power: int) -> PerLayer:
    """Σ gradient^power of every layer's parameters, one after the other in a vector."""
    layers = [m for m in calibration.net.modules() if [*m.parameters(recurse=False)]]
    totals: dict[nn.Module, Tensor] = {}
    for loss in calibration.losses(examples):
        owned = [[*layer.parameters(recurse=False)] for layer in layers]
        every = [parameter for parameters in owned for parameter in parameters]
        gradients = iter(torch.autograd.grad(loss, every))
        for layer, parameters in zip(layers, owned, strict=True):
            found = torch.cat([next(gradients).flatten() ** power for _ in parameters])
            totals[layer] = totals[layer] + found if layer in totals else found
    return totals


RIVALS = {
    "tp-magnitude": by_weights(lambda: tp.importance.GroupMagnitudeImportance(p=2)),
    "tp-lamp": by_weights(lambda: tp.importance.LAMPImportance(p=2)),
    "tp-fpgm": by_weights(lambda: tp.importance.FPGMImportance(p=2)),
    "tp-bn-scale": by_weights(tp.importance.BNScaleImportance),
    "tp-taylor": taylor,
    "tp-hessian": hessian,
}


def register() -> None:
    """Let recipes of this process name them."""
    CRITERIA.update(RIVALS)
