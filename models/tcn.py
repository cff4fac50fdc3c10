"""Causal temporal convolutional network that predicts a spectral mask, one frame at a time.

After Conv-TasNet's separator (Luo & Mesgarani 2019, arXiv:1809.07454), on STFT frames and with
nothing that looks ahead but, where asked for, `lookahead` whole frames: the mask of frame t then is
that of the sums at t + lookahead.

    x_t                                  feature of frame t             [input]
    y   = norm(W_in x)                                                  [residual]
    z_t = relu(norm(W_expand y_t))                                      [hidden]   in each block,
    y_t ← y_t + W_squeeze relu(norm(Σ_k taps_k · z_{t−kd})), k = 0…2    [residual] dilation d
    m   = limit · tanh(W_out y)  for a complex mask,  sigmoid(W_out y)  for a magnitude mask

Two forms share the weights: `TCN` takes whole sequences [batch, input, time] and is what trains
and what is pruned; `Stream` takes one frame and each block's z at t-2d and t-d, and returns the
new z: the host keeps the rings. Normalisation is BatchNorm, so it folds into the weights and no
statistic is taken over time when the network runs. A 1×1 convolution may have become a chain of
smaller ones (low rank): both forms take it for the one that it stands for.

`python models/tcn.py` proves it for the shipped width and for 6.16 M parameters, the size of the
TCN whose compression the source documents report (its widths are not stated; these are ours).
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from device.manifest import RingSpec, StateSpec
from models.masks import MaskNet, State, StreamNet

TAPS = 3
LARGE: dict[str, Any] = {"residual": 384, "hidden": 640, "dilations": (1, 2, 4, 8, 16, 32) * 2}
COMPLEX_LIMIT = 2.0  # |real|, |imaginary| of a complex mask: room to restore what noise cancelled


class Block(nn.Module):
    """1×1 expand, causal depthwise convolution of 3 taps, 1×1 squeeze, around a residual."""

    def __init__(self, residual: int, hidden: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.expand = nn.Conv1d(residual, hidden, 1, bias=False)
        self.expand_norm = nn.BatchNorm1d(hidden)
        self.taps = nn.Conv1d(hidden, hidden, TAPS, dilation=dilation, groups=hidden, bias=False)
        self.taps_norm = nn.BatchNorm1d(hidden)
        self.squeeze = nn.Conv1d(hidden, residual, 1)

    def forward(self, y: Tensor) -> Tensor:
        """[batch, residual, time] → the same shape."""
        z = F.relu(self.expand_norm(self.expand(y)))
        past = F.pad(z, ((TAPS - 1) * self.dilation, 0))
        change: Tensor = self.squeeze(F.relu(self.taps_norm(self.taps(past))))
        return y + change


class TCN(MaskNet):
    """Training form.

    Args:
        inputs: length of one frame's feature.
        outputs: length of one frame's mask.
        mask: "magnitude" (sigmoid, 0…1) or "complex" (tanh, ±COMPLEX_LIMIT).
        residual: channels between blocks.
        hidden: channels inside a block.
        dilations: one block each, in frames.
        lookahead: frames.
    """

    def __init__(
        self,
        inputs: int = 257,
        outputs: int = 257,
        mask: Literal["complex", "magnitude"] = "magnitude",
        residual: int = 160,
        hidden: int = 320,
        dilations: Sequence[int] = (1, 2, 4, 8, 16) * 2,
        lookahead: int = 0,
    ) -> None:
        super().__init__()
        self.mask, self.lookahead = mask, lookahead
        self.enter = nn.Conv1d(inputs, residual, 1, bias=False)
        self.enter_norm = nn.BatchNorm1d(residual)
        self.blocks = nn.Sequential(*(Block(residual, hidden, d) for d in dilations))
        self.leave = nn.Conv1d(residual, outputs, 1)
        self._start_transparent()

    @property
    def answer(self) -> nn.Module:
        """The last convolution."""
        return _convs(self.leave)[-1]

    def stream(self) -> "Stream":
        """One frame at a time."""
        return Stream(self).eval()

    def _start_transparent(self) -> None:
        """Begin near a mask that lets the sound through: training starts at the noisy input."""
        assert self.leave.bias is not None
        with torch.no_grad():
            self.leave.weight *= 0.1
            self.leave.bias.zero_()
            if self.mask == "complex":
                self.leave.bias[: self.leave.out_channels // 2] = math.atanh(1 / COMPLEX_LIMIT)
            else:
                self.leave.bias += 2.0  # sigmoid: 0.88

    def forward(self, x: Tensor) -> Tensor:
        """Feature [batch, inputs, time] → mask [batch, outputs, time]."""
        y = self.blocks(self.enter_norm(self.enter(F.pad(x, (0, self.lookahead)))))
        return bounded(self.leave(y[..., self.lookahead :]), self.mask)


class Stream(StreamNet):
    """Deployed form: one frame. BatchNorm folded; weights copied from a trained `TCN`."""

    past_taps: Tensor  # [1, Σ 2·hidden], as `delayed`
    past_shift: Tensor

    def __init__(self, net: TCN) -> None:
        super().__init__()
        blocks = [block for block in net.blocks if isinstance(block, Block)]
        self.mask = net.mask
        self.enter = _folded(net.enter, net.enter_norm)
        self.expand = nn.ModuleList(_folded(b.expand, b.expand_norm) for b in blocks)
        self.squeeze = nn.ModuleList(_folded(b.squeeze) for b in blocks)
        self.leave = _folded(net.leave)
        self.widths = [b.expand_norm.num_features for b in blocks]
        self.dilations = [b.dilation for b in blocks]
        past, now = [], []
        for b in blocks:
            scale, shift = _affine(b.taps_norm)
            taps = b.taps.weight[:, 0] * scale[:, None]  # [hidden, 3], oldest first
            past.append((taps[:, 0], torch.zeros_like(shift)))
            past.append((taps[:, 1], shift))
            now.append(taps[:, 2])
        # One product and one sum serve the delayed vectors of all blocks: nodes are what a
        # batch of one costs.
        self.register_buffer("past_taps", torch.cat([tap for tap, _ in past])[None].detach())
        self.register_buffer("past_shift", torch.cat([shift for _, shift in past])[None].detach())
        self.now_taps = nn.ParameterList(tap[None].detach().clone() for tap in now)
        rings = tuple(
            RingSpec(width=width, delays=(2 * d, d))
            for width, d in zip(self.widths, self.dilations, strict=True)
        )
        self.states = (
            State(
                StateSpec(input="delayed", output="newest", rings=rings),
                tuple(self.past_taps.shape),
                "per block the expanded vectors 2·dilation and dilation frames ago",
            ),
        )

    def forward(self, frame: Tensor, delayed: Tensor) -> tuple[Tensor, Tensor]:
        """frame [1, inputs], delayed [1, Σ 2·hidden] → mask [1, outputs], newest [1, Σ hidden]."""
        widths = [width for width in self.widths for _ in range(TAPS - 1)]
        past = torch.split(delayed * self.past_taps + self.past_shift, widths, dim=-1)
        y = self.enter(frame)
        newest = []
        for index, (expand, squeeze) in enumerate(zip(self.expand, self.squeeze, strict=True)):
            z = F.relu(expand(y))
            newest.append(z)
            history = past[2 * index] + past[2 * index + 1]
            y = y + squeeze(F.relu(z * self.now_taps[index] + history))
        return bounded(self.leave(y), self.mask), torch.cat(newest, -1)


def bounded(value: Tensor, mask: str) -> Tensor:
    """The mask's range."""
    return COMPLEX_LIMIT * torch.tanh(value) if mask == "complex" else torch.sigmoid(value)


def _affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """BatchNorm with its running statistics as scale · x + shift."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _convs(layer: nn.Module) -> list[nn.Conv1d]:
    """A convolution, or those of a chain."""
    return [module for module in layer.modules() if isinstance(module, nn.Conv1d)]


def _folded(layer: nn.Module, norm: nn.BatchNorm1d | None = None) -> nn.Module:
    """A 1×1 convolution, or a chain of them, with the norm behind it, for one frame."""
    *before, last = _convs(layer)
    weight, bias = last.weight, last.bias
    if norm is not None:
        scale, bias = _affine(norm)
        weight = weight * scale[:, None, None]
    linear = _linear(weight, bias)
    if not before:
        return linear
    return nn.Sequential(*(_linear(conv.weight, None) for conv in before), linear)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = nn.Parameter(weight[:, :, 0].detach().clone())
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().clone())
    return linear


def _main() -> None:
    from compress.proof import prove

    torch.manual_seed(0)
    for name, net in (("TCN", TCN()), ("TCN, 6.16 M", TCN(**LARGE))):
        net(torch.rand(1, 257, 100))  # one training pass: BatchNorm has statistics
        prove(name, net, 257)


if __name__ == "__main__":
    _main()
