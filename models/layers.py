"""Layers shared by the image networks, written so that they convert to single TFLite operators."""

from collections import OrderedDict

from torch import nn

from models.depthwise import DepthwiseConv2d


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    *,
    activation: nn.Module | None = None,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> nn.Sequential:
    """Convolution without bias, batch norm and activation: one CONV_2D after conversion.

    A stride of 2 pads as TensorFlow's SAME does on even sizes, the extra row and column at the
    bottom right, because symmetric padding would cost a PAD operator of its own.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if stride == 1:
        padding = kernel // 2
    else:
        padding = 0
        total = max(0, kernel - stride)
        before, after = total // 2, total - total // 2
        if total:
            layers["pad"] = nn.ZeroPad2d((before, after, before, after))
    if groups == inputs == outputs:
        layers["conv"] = DepthwiseConv2d(inputs, kernel, stride, padding)
    else:
        layers["conv"] = nn.Conv2d(
            inputs, outputs, kernel, stride, padding, groups=groups, bias=False
        )
    layers["norm"] = nn.BatchNorm2d(outputs, eps=eps, momentum=momentum)
    if activation is not None:
        layers["activation"] = activation
    return nn.Sequential(layers)
