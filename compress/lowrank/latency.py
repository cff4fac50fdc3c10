"""How much time a layer takes against another, as TFLite models on this machine.

Both run in turns in one process, one thread, on a real input, and the least CPU time of each
counts: what else the machine does can only add to it. The conversion of a layer takes about a
second, so ranks are bisected, not swept.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compress import export, quantization
from compress.steps import Quantize
from device.runtime import Runtime

ROUNDS = 60
KEY = "args_0"
Scheme = Literal["fp32", "dynamic-int8", "static-int8"]


class Alone(nn.Module):
    """A layer between transposes: channels last outside, as whole networks are deployed."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """x [1, *positions, channels]."""
        y = self.layer(x.movedim(-1, 1))
        return (y.movedim(1, -1) if y.ndim == x.ndim else y,)  # a whole classifier ends flat


class Timed:
    """A layer as it would be deployed.

    Args:
        x: a real input [1, channels, *positions]; int8 schemes calibrate on it.
        scheme: numbers, as in a recipe's quantize step.
    Raises:
        FieldwrenError: the converter does not take the layer.
    """

    def __init__(self, layer: nn.Module, x: Tensor, scheme: Scheme) -> None:
        self.layer = layer
        self.x: NDArray[np.float32] = x.movedim(1, -1).contiguous().float().numpy()
        with TemporaryDirectory() as folder:
            plain, final = Path(folder) / "plain.tflite", Path(folder) / "final.tflite"
            export.write(Alone(layer), (torch.from_numpy(self.x),), plain)
            numbers = Quantize(kind="quantize", scheme=scheme)
            with export.silent():
                quantization.quantize(plain, numbers, [{KEY: self.x}], final)
            self.content = final.read_bytes()
            self.runtime = Runtime(final)

    def seconds(self) -> float:
        """CPU time of one run."""
        self.runtime.feed({KEY: self.x})
        started = time.thread_time()
        self.runtime.invoke()
        return time.thread_time() - started


def ratio(one: Timed, other: Timed) -> float:
    """Time of `one` over that of `other`."""
    pairs = [(one.seconds(), other.seconds()) for _ in range(ROUNDS)]
    return min(pair[0] for pair in pairs) / min(pair[1] for pair in pairs)
