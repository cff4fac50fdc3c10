"""How large a recurrent network is: what it truly holds, and as the source document counts it.

[F] The source's 35.442 M of AWD-LSTM on the Penn Treebank hold W_h of every layer twice (the raw
weights from which weight drop makes the ones that are used). Its true size is 24,221,600, torch's
second bias of every gate included, which does nothing; ours keeps one.
"""

from typing import NamedTuple

from torch import nn

from compress import count
from compress.rnn.adopt import recurrent


class Counts(NamedTuple):
    """Parameters."""

    true: int  # every tensor once, tied ones, too
    paper: int  # W_h twice, two biases a gate
    recurrent: int  # the part of `true` that recurrent layers hold


def counts(net: nn.Module) -> Counts:
    """Of a network whose recurrent layers are adopted."""
    layers, true = recurrent(net).values(), count.parameters(net)
    doubled = sum(count.parameters(layer.h) + layer.bias.numel() for layer in layers)
    return Counts(true, true + doubled, sum(count.parameters(layer) for layer in layers))
