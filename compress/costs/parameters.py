"""Trainable values, tied ones once."""

from collections.abc import Mapping

from torch import nn

from compress import count
from compress.costs.base import Subject
from compress.prune import Plan
from compress.sizes import Layer, Size


class Parameters:
    """A Cost; predictions are exact for convolutions, linear layers and norms."""

    def __init__(self, subject: Subject) -> None:
        self._sizes = subject.sizes()
        self._whole = count.parameters(subject.net)

    def predicted(self, plan: Plan) -> float:
        return self._whole - lost(self._sizes.layers, self._sizes.after(plan))

    def measured(self, plan: Plan, net: nn.Module) -> float:
        return count.parameters(net)


def lost(layers: Mapping[str, Layer], after: Mapping[str, Size]) -> float:
    """Values that go when layers shrink."""
    gone, seen = 0.0, set()
    for name, layer in layers.items():
        module, outputs = layer.module, after[name].outputs / layer.size.outputs
        owned = [module] if isinstance(module, nn.Parameter) else module.parameters(recurse=False)
        for values in owned:
            if values.data_ptr() in seen:
                continue
            seen.add(values.data_ptr())
            matrix = values.ndim > 1 and not isinstance(module, nn.Parameter)
            share = layer.share(after[name]) if matrix else outputs
            gone += values.numel() * (1 - share)
    return gone
