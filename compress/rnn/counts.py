"""How large a recurrent network is: what it truly holds, and as the source document counts it.

[F] The source's 35.442 M of AWD-LSTM on the Penn Treebank hold W_h of every layer twice (the raw
weights from which weight drop makes the ones that are used). Its true size is 24,221,600, torch's
second bias of every gate included, which does nothing; ours keeps one.
"""

from typing import NamedTuple

from torch import nn

from compress import count
from compress.rnn.adopt import recurrent
from models.recurrent import Recurrent


class Counts(NamedTuple):
    """Parameters."""

    true: int  # every tensor once, tied ones, too
    paper: int  # W_h twice, two biases a gate
    recurrent: int  # the part of `true` that recurrent layers hold


def counts(net: nn.Module) -> Counts:
    """Of a network whose recurrent layers are adopted."""
    layers, true = recurrent(net).values(), count.parameters(net)
    return Counts(
        true, true + sum(map(_again, layers)), sum(count.parameters(layer) for layer in layers)
    )


def _again(layer: Recurrent) -> int:
    """What the source counts twice; a GRU's candidate has its second bias here, too."""
    if not isinstance(layer.bias, nn.Parameter):
        return count.parameters(layer.h)
    second = layer.bias.numel() - (0 if layer.candidate is None else layer.candidate.numel())
    return count.parameters(layer.h) + second
