"""Proof that a compressed recurrent network computes what its masked form computes."""

import copy

import torch
from torch import Tensor, nn

from compress.prune import AGREEMENT
from compress.rnn.adopt import projections
from device.errors import FieldwrenError
from models.projections import Matrix


def multiplied_out(net: nn.Module) -> nn.Module:
    """A copy whose matrices are all stored dense: columns masked by zeros, factors multiplied."""
    masked = copy.deepcopy(net)
    for projection in projections(masked).values():
        projection.store([Matrix(projection.inputs, [projection.dense().detach()])])
    return masked


def agreement(masked: nn.Module, compressed: nn.Module, example: Tensor) -> float:
    """Largest |masked − compressed| of the answers, in float64 on a real input.

    A network's answer is its first output; states beside it follow the units.

    Raises:
        FieldwrenError: it is above 1e-5.
    """
    error = float((_answer(masked, example) - _answer(compressed, example)).abs().max())
    if not error <= AGREEMENT:
        raise FieldwrenError(
            f"masked and compressed networks differ by {error:.2g}, allowed {AGREEMENT:.0e}: "
            "something reads a recurrent layer that does not follow its units"
        )
    return error


def _answer(net: nn.Module, example: Tensor) -> Tensor:
    exact = copy.deepcopy(net).double().eval()
    with torch.no_grad():
        found = exact(example.double() if example.is_floating_point() else example)
    while not isinstance(found, Tensor):
        found = found[0]
    return found
