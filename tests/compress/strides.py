"""Which 1 × 1 convolutions are computed, below whatever calls them (compress/strided.py)."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from compress.strided import BLOCK


class Strides(TorchDispatchMode):
    """Notes inputs and stride of every 1 × 1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default and args[1].shape[2:] == (1, 1):
            self.seen.append((args[1].shape[1], max(args[3])))
        return func(*args, **(kwargs or {}))

    @property
    def harmful(self) -> list[tuple[int, int]]:
        """Those that may write past their workspace in training."""
        return [(inputs, stride) for inputs, stride in self.seen if inputs < BLOCK and stride > 1]
