"""Proof that a compressed recurrent network computes what its masked form computes.

Every tensor of the answers is compared: they may be in tuples, lists and dicts. Only states that
a network hands out beside its answer follow the units, and are known by their values: all their
vectors are states of layers that lost units.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compress.prune import AGREEMENT
from compress.rnn.adopt import projections
from compress.rnn.wires import Rows, vectors
from device.errors import FieldwrenError
from models.projections import Matrix
from models.recurrent import Cell, Recurrent, Stack


@dataclass(frozen=True)
class Answer:
    """Of one network."""

    tensors: list[Tensor]  # in order; the first is never a state
    states: Rows  # of layers that lost units

    def hands_out(self, number: int) -> bool:
        """Whether this tensor is a state."""
        value = self.tensors[number]
        return number > 0 and value.numel() > 0 and value.ndim > 0 and self._known(value)

    def _known(self, value: Tensor) -> bool:
        return self.states.issuperset(vectors(value))


def multiplied_out(net: nn.Module) -> nn.Module:
    """A copy whose matrices are all stored dense: columns masked by zeros, factors multiplied."""
    masked = copy.deepcopy(net)
    for projection in projections(masked).values():
        projection.store([Matrix(projection.inputs, [projection.dense().detach()])])
    return masked


def agreement(masked: nn.Module, compressed: nn.Module, example: Tensor) -> float:
    """Largest |masked − compressed| of all answers, in float64 on a real input.

    Raises:
        FieldwrenError: it is above 1e-5, an answer has another shape, or one is no tensor.
    """
    units = [_units(net) for net in (masked, compressed)]
    cut = {name for name, count in units[0].items() if units[1].get(name) != count}
    before, after = (_answer(net, example, cut) for net in (masked, compressed))
    largest = 0.0
    for number, (one, other) in enumerate(zip(before.tensors, after.tensors, strict=True)):
        alike = one.shape == other.shape
        error = _distance(one, other) if alike else float("inf")
        if error <= AGREEMENT:
            largest = max(largest, error)
        elif not (before.hands_out(number) and after.hands_out(number)):
            which = "" if len(before.tensors) == 1 else f" in answer {number + 1}"
            shapes = f"{list(one.shape)} and {list(other.shape)} in shape"
            raise FieldwrenError(
                f"masked and compressed networks differ{which} by "
                + (f"{error:.2g}, allowed {AGREEMENT:.0e}" if alike else shapes)
                + ": something reads a recurrent layer that does not follow its units"
            )
    return largest


def _units(net: nn.Module) -> dict[str, int]:
    return {
        name: layer.units for name, layer in net.named_modules() if isinstance(layer, Recurrent)
    }


def _distance(one: Tensor, other: Tensor) -> float:
    if not one.numel():
        return 0.0
    one, other = (value if value.is_complex() else value.double() for value in (one, other))
    # the same infinity is the same answer
    return float(torch.where(one == other, 0.0, (one - other).abs()).max())


def _answer(net: nn.Module, example: Tensor, cut: set[str]) -> Answer:
    exact, states = copy.deepcopy(net).double().eval(), Rows()
    layers = {module for name, module in exact.named_modules() if name in cut}
    for module in exact.modules():
        if isinstance(module, Recurrent | Stack | Cell) and layers.intersection(module.modules()):
            module.register_forward_hook(_states(states))
    with torch.no_grad():
        found = exact(example.double() if example.is_floating_point() else example)
    tensors = _tensors(found)
    if not tensors:
        raise FieldwrenError("the network answers with no tensor: nothing can be compared")
    return Answer(tensors, states)


def _states(found: Rows) -> Callable[..., None]:
    def note(layer: nn.Module, _inputs: Any, output: Any) -> None:
        own = output if isinstance(layer, Cell) else output[1]
        for part in (own,) if isinstance(own, Tensor) else own:
            found.update(vectors(part))

    return note


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [tensor for part in value for tensor in _tensors(part)]
    if value is None or isinstance(value, bool | int | float | str):
        return []
    raise FieldwrenError(
        f"the network answers with a {type(value).__name__}, which cannot be compared: return "
        "tensors, in tuples, lists or dicts"
    )
