"""Shapes of a network's recurrent parts as JSON, so that a stage can be rebuilt from its record.

{"matrices": {projection: [[rows, inputs, kept or null, rank or null], …]},
 "linear": {linear layer: inputs}}
"""

import torch
from pydantic import JsonValue
from torch import nn

from compress.rnn.adopt import adopt, projections, recurrent
from compress.rnn.forms import Shape, empty, shape_of
from device.manifest import Frozen
from models.recurrent import GATES


class Structure(Frozen):
    """What `rebuild` needs."""

    matrices: dict[str, tuple[Shape, ...]]
    linear: dict[str, int]


def describe(net: nn.Module) -> JsonValue:
    """The structure of an adopted network."""
    sides = projections(net)
    found = Structure(
        matrices={name: tuple(shape_of(p) for p in side.parts) for name, side in sides.items()},
        linear={n: m.in_features for n, m in net.named_modules() if isinstance(m, nn.Linear)},
    )
    value: JsonValue = found.model_dump(mode="json")
    return value


def rebuild(net: nn.Module, structure: JsonValue) -> nn.Module:
    """Give a network that structure, in place; its weights have to be loaded then."""
    wanted = Structure.model_validate(structure)
    sides = projections(adopt(net))
    for name, shapes in wanted.matrices.items():
        sides[name].store([empty(shape) for shape in shapes])
    for layer in recurrent(net).values():
        candidate = None if layer.candidate is None else torch.zeros(layer.units)
        layer.hold(torch.zeros(GATES[layer.kind] * layer.units), candidate)
    for name, inputs in wanted.linear.items():
        linear = net.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        if linear.in_features != inputs:
            linear.in_features = inputs
            zeros = torch.zeros(linear.out_features, inputs)
            linear.weight = nn.Parameter(zeros, linear.weight.requires_grad)
    return net
