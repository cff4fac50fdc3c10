"""TCN and sub-band LSTM: FullSubNet whose full-band LSTM has become a causal TCN.

The source documents compress a "TCN" of 6.16 M parameters and name no widths. Sixteen full-band
blocks 257-512-257 of FullSubNet+'s kind (Chen et al. 2022, arXiv:2203.12188; dilations 1, 2, 5, 9)
before FullSubNet's own sub-band LSTM come to that size.

    z   = norm(prelu(W_expand y_t + b))                  [512]   in each block,
    y_t ← y_t + W_squeeze norm(prelu(taps ∗ z)) + b'     [257]   dilation d, 3 taps, causal
    f   = relu(W · relu(y))                              full band; then as in models/fullsubnet.py
    norm(z) = g · z / √(mean z² + ε)                     over the channels of one frame

What the published block normalises over time, this one does within a frame: a stream has no future.
Such a norm needs neither a mean to subtract nor a shift, and the taps no bias [our choice; with
them the parameters are 6,155,828, the figure to meet].

Nearly all of its work is FullSubNet's sub-band part: `python models/tcn_hybrid.py` proves the size
and tells the work. That is what
compression can take from it (LSTM steps): channel pruning refuses blocks with time before channels.
"""

import copy
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from device.manifest import RingSpec, StateSpec
from models.fullsubnet import FullSubNet
from models.fullsubnet_parts import Kind, Part, StreamPart, at_least_single
from models.masks import State

TAPS = 3
EPSILON = 1e-8
DILATIONS = (1, 2, 5, 9) * 4
PARAMETERS = 6_155_828  # of the documents' table


class ChannelNorm(nn.Module):
    """Root mean square over the channels (last axis), and a gain each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[..., channels] → the same shape."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * self.gain


class Block(nn.Module):
    """One residual block; `head` gives what its taps reach back to, `tail` what follows them."""

    def __init__(self, channels: int, hidden: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.expand = nn.Linear(channels, hidden)
        self.expand_slope, self.taps_slope = nn.PReLU(), nn.PReLU()
        self.expand_norm, self.taps_norm = ChannelNorm(hidden), ChannelNorm(hidden)
        self.taps = nn.Parameter(torch.empty(TAPS, hidden).uniform_(-1, 1) * TAPS**-0.5)
        self.squeeze = nn.Linear(hidden, channels)

    @property
    def delays(self) -> tuple[int, ...]:
        """Frames that the taps reach back, oldest first, without the present one."""
        return tuple(self.dilation * k for k in range(TAPS - 1, 0, -1))

    def head(self, y: Tensor) -> Tensor:
        """[..., channels] → z [..., hidden]."""
        z: Tensor = self.expand_norm(self.expand_slope(self.expand(y)))
        return z

    def tail(self, y: Tensor, past: Sequence[Tensor], z: Tensor) -> Tensor:
        """y, z of the `delays` and z of the present frame → the block's output."""
        heard = sum(tap * value for tap, value in zip(self.taps, (*past, z), strict=True))
        change: Tensor = self.squeeze(self.taps_norm(self.taps_slope(heard)))
        return y + change

    def forward(self, y: Tensor) -> Tensor:
        """[batch, time, channels] → the same shape."""
        z = self.head(y)
        past = [F.pad(z, (0, 0, delay, 0))[:, : z.shape[1]] for delay in self.delays]
        return self.tail(y, past, z)


class Temporal(Part):
    """Blocks and a linear layer, in the place of a FullSubNet's full-band `Layers`."""

    def __init__(self, bands: int, hidden: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(bands, hidden, d) for d in dilations))
        self.linear = nn.Linear(bands, bands)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, bands, time] → the same shape."""
        y = self.linear(F.relu(self.blocks(x.transpose(1, 2))))
        return at_least_single(y).transpose(1, 2)

    def stream(self, name: str, rows: int = 1, every: int = 1) -> "StreamTemporal":
        """See Part; the full band is one row, stepped in every frame."""
        assert rows == every == 1
        return StreamTemporal(self, name)


class StreamTemporal(StreamPart):
    """`Temporal`, one frame at a time; the host keeps each block's ring."""

    def __init__(self, net: Temporal, name: str) -> None:
        super().__init__()
        self.blocks, self.linear = copy.deepcopy(net.blocks), copy.deepcopy(net.linear)
        blocks = self._blocks
        self.widths = [b.expand.out_features for b in blocks for _ in b.delays]
        rings = tuple(RingSpec(width=b.expand.out_features, delays=b.delays) for b in blocks)
        self.states = (
            State(
                StateSpec(input=f"{name}_delayed", output=f"{name}_newest", rings=rings),
                (1, sum(self.widths)),
                "per block the expanded vectors that its taps reach back to",
            ),
        )

    @property
    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def forward(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """x [1, bands] → [1, bands] and the newest expanded vectors."""
        past = torch.split(states[0], self.widths, -1)
        y, newest = x, []
        for index, block in enumerate(self._blocks):
            z = block.head(y)
            reach = len(block.delays)
            y = block.tail(y, past[reach * index : reach * (index + 1)], z)
            newest.append(z)
        return self.linear(F.relu(y)), [torch.cat(newest, -1)]


class TCNHybrid(FullSubNet):
    """Training form; `hidden` and `dilations` are of the full-band blocks."""

    def __init__(
        self,
        bands: int = 257,
        mask: Kind = "complex",
        hidden: int = 512,
        dilations: Sequence[int] = DILATIONS,
        sub: Sequence[int] = (384, 384),
        reach: int = 15,
        lookahead: int = 2,
        memory: int | None = None,
    ) -> None:
        super().__init__(bands, mask, (), sub, reach, lookahead, memory)  # no full-band LSTMs
        self.full = Temporal(bands, hidden, dilations)


def _main() -> None:
    from compress.proof import prove

    torch.manual_seed(0)
    found, _ = prove("TCN and sub-band LSTM", TCNHybrid(), 257)
    if found != PARAMETERS:
        raise SystemExit(f"the TCN hybrid has {found:,} parameters, not {PARAMETERS:,}")


if __name__ == "__main__":
    _main()
