"""Convolutions and linear layers as one thing: a filter per output channel, applied to patches.

    y_o(p) = w_o · x_o(p)        for every output position p

w_o     the flat filter of output channel o, n weights                     [n]
x_o(p)  the inputs that meet them at p: the patch of o's group, with the padding's zeros  [n]
Any kernel, stride, dilation, padding and number of groups; transposed convolutions as well.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

CONVOLUTIONS = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}  # by dimensions of the weight
TRANSPOSED = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}


def kernel(layer: nn.Module) -> Tensor:
    """The layer's weight, without its history."""
    assert isinstance(layer.weight, Tensor)
    return layer.weight.detach()


def rows(layer: nn.Module, values: Tensor) -> Tensor:
    """The layer's weight, or something of its shape, as filters [out, n]."""
    if not isinstance(layer, _ConvTransposeNd):
        return values.flatten(1)
    inside, outside, *window = values.shape
    split = (layer.groups, inside // layer.groups, outside, *window)
    return values.reshape(split).transpose(1, 2).flatten(0, 1).flatten(1)


def weight(layer: nn.Module, filters: Tensor) -> Tensor:
    """Filters [out, n] in the layout of the layer's weight: the inverse of `rows`."""
    window = kernel(layer).shape[2:]
    if not isinstance(layer, _ConvTransposeNd):
        return filters.reshape(len(filters), -1, *window)
    split = (layer.groups, len(filters) // layer.groups, -1, *window)
    return filters.reshape(split).transpose(1, 2).flatten(0, 1)


def respond(layer: nn.Module, x: Tensor, W: Tensor, groups: int | None = None) -> Tensor:
    """The layer's answer to `x` with other weights (and groups), without bias."""
    if not isinstance(layer, _ConvNd):
        return F.linear(x, W.flatten(1))
    split, padding, options = groups or layer.groups, layer.padding, {"dilation": layer.dilation}
    if isinstance(layer, _ConvTransposeNd):
        options["output_padding"] = layer.output_padding
    elif layer.padding_mode != "zeros":
        x = F.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        padding = (0,) * (W.ndim - 2)
    function: Callable[..., Tensor] = (TRANSPOSED if layer.transposed else CONVOLUTIONS)[W.ndim]
    return function(x, W, stride=layer.stride, padding=padding, groups=split, **options)


def maps(layer: nn.Module, values: Tensor) -> Tensor:
    """A layer's input or output as feature maps [examples, channels, positions]."""
    if not isinstance(layer, _ConvNd):
        values = values.movedim(-1, 1)
    return values[..., None].flatten(2)


def energy(layer: nn.Module, values: Tensor) -> Tensor:
    """Sum of squares per channel of an input or output [channels], float64 between examples."""
    norms: Tensor = torch.linalg.vector_norm(maps(layer, values), dim=2)
    return norms.double().square().sum(0)
