"""What a network costs on paper: multiply-accumulates and parameters."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from compress.resting import constant

Shape = Sequence[int]


def _lstm(x: Shape, w_x: Shape, w_h: Shape, *_: Any, **__: Any) -> int:
    """Operations of a fused LSTM layer from its shapes: x [time, batch, inputs]."""
    return 2 * x[0] * x[1] * (math.prod(w_x) + math.prod(w_h))


def macs(net: nn.Module, *inputs: Any) -> int:
    """Multiply-accumulates of convolutions, matrix products and LSTM layers in one pass."""
    fused = {torch.ops.aten.mkldnn_rnn_layer: _lstm}  # torch counts no fused layers
    counter = FlopCounterMode(display=False, custom_mapping=fused)
    # constant: torch's counter looks for gradients of parameters that a layer is given, and fails
    with constant(net), torch.no_grad(), counter:
        net(*inputs)
    return int(counter.get_total_flops()) // 2


def parameters(net: nn.Module) -> int:
    """Trainable values; tensors that share their memory (tied layers) are counted once."""
    seen = {(p.data_ptr(), tuple(p.shape), p.stride()): p.numel() for p in net.parameters()}
    return sum(seen.values())
