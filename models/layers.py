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
    same: bool = False,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> nn.Sequential:
    """Convolution without bias, batch norm and activation: one CONV_2D after conversion.

    `same` pads a stride of 2 as TensorFlow does on even sizes, the extra row and column at the
    bottom right. It converts to one operator where the input feeds nothing else; where a shortcut
    reads the input too, symmetric padding is cheaper (a PAD instead of TRANSPOSE, PAD, TRANSPOSE).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    padding = kernel // 2
    if same and stride > 1:
        total, padding = max(0, kernel - stride), 0
        before, after = total // 2, total - total // 2
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
