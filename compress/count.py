"""What a network costs on paper: multiply-accumulates and parameters."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from compress.resting import constant

Shape = Sequence[int]


def _lstm(x: Shape, w_x: Shape, w_h: Shape, *_: Any, **__: Any) -> int:
    """Operations of a fused LSTM layer from its shapes: x [time, batch, inputs]."""
    return 2 * x[0] * x[1] * (math.prod(w_x) + math.prod(w_h))


def _attention(q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
    """Operations of q·kᵀ and of its product with v, masked places included."""
    return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


def _bilinear(one: Shape, weight: Shape, two: Shape, *_: Any, **__: Any) -> int:
    """Operations of y_o = Σ_ij x_i·W_oij·z_j as x·W and then its product with z."""
    outputs, _i, j = weight
    return 2 * one[0] * outputs * j * (one[1] + 1)


def _times_vector(matrix: Shape, *_: Any, **__: Any) -> int:
    return 2 * math.prod(matrix)


ATEN = torch.ops.aten
UNKNOWN = {  # what torch's counter takes for nothing
    ATEN.mkldnn_rnn_layer: _lstm,
    ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    ATEN._trilinear: _bilinear,
    ATEN.mv: _times_vector,
}


@contextmanager
def counting(net: nn.Module) -> Iterator[FlopCounterMode]:
    """Inside, all operations are counted: two for a multiply-accumulate.

    nn.MultiheadAttention and nn.TransformerEncoderLayer compute with single operators meanwhile;
    what they do at rest else is one fused operator, whose layers are not called.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    counter = FlopCounterMode(display=False, custom_mapping=UNKNOWN)
    # constant: torch's counter looks for gradients of parameters that a layer is given, and fails
    with constant(net), torch.no_grad():
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with counter:
                yield counter
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)


def macs(net: nn.Module, *inputs: Any) -> int:
    """Multiply-accumulates of convolutions, matrix products, attention and LSTM layers in one
    pass."""
    with counting(net) as counter:
        net(*inputs)
    return int(counter.get_total_flops()) // 2


def parameters(net: nn.Module) -> int:
    """Trainable values; tensors that share their memory (tied layers) are counted once."""
    seen = {(p.data_ptr(), tuple(p.shape), p.stride()): p.numel() for p in net.parameters()}
    return sum(seen.values())
