"""What a network costs on paper: multiply-accumulates and parameters."""

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def macs(net: nn.Module, *inputs: Any) -> int:
    """Multiply-accumulates of convolutions and matrix products in one forward pass."""
    training = net.training
    counter = FlopCounterMode(display=False)
    try:
        net.eval()
        with torch.no_grad(), counter:
            net(*inputs)
    finally:
        net.train(training)
    return int(counter.get_total_flops()) // 2


def parameters(net: nn.Module) -> int:
    """Trainable values; tensors that share their memory (tied layers) are counted once."""
    seen = {(p.data_ptr(), tuple(p.shape), p.stride()): p.numel() for p in net.parameters()}
    return sum(seen.values())
