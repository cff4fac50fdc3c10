"""Causal TCN whose blocks are shared by all bands of the spectrum, with a narrow full-band path.

What makes speech speech looks much alike in every band: a TCN on the whole spectrum (models/tcn.py)
learns it 257 times over, one on bands learns it once, from as many more examples. The idea is
FullSubNet's (Hao et al. 2021, arXiv:2010.15508); in place of its LSTMs are dilated convolutions,
which train in parallel over time. [C] throughout. F = 32 bands, c channels a band:

    x_t  ← x_t / (mean level so far + ε)                              256 bins, without the last
    u    = relu(norm(windows of 8 bins, 4 apart))                         64 places, c/2 …
    y    = norm(windows of 4 places, 2 apart) + place                     [F, c]
    y_t  ← y_t + W_squeeze relu(norm(W_expand (…, y_{t−2d}, y_{t−d}, y_t)))  in each block, per band
    y_t  ← y_t + W_give relu(norm(W_mix flat(W_take y_t)))                and over all bands
    m    = sigmoid(W_out relu(norm(unfold(y) + W_skip u)))                4 bins a place

W_take leaves `taken` values of each band; what W_mix reads, F·taken values, is the whole spectrum.
Normalisation is BatchNorm and folds away. `lookahead` frames as in models/tcn.py.

`BandTCN` takes whole sequences [batch, bin, time]; `Stream` takes one frame and each block's y at
…, t−2d and t−d, which the host keeps. `python models/tcn_bands.py` proves it.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from device.manifest import RingSpec, StateSpec
from models.fullsubnet_parts import FRAME, one_more, running_mean
from models.masks import MaskNet, State, StreamNet, carried

WINDOW, PLACES, BANDS = 8, 64, 32  # bins a window, places 4 bins apart, bands 2 places apart
BINS = 4 * PLACES + 1
QUIET = 1e-4  # of a compressed magnitude: digital silence stays silence


class Block(nn.Module):
    """Dilated convolution over time within each band, then a path through all of them."""

    def __init__(
        self, channels: int, hidden: int, taps: int, dilation: int, taken: int, mixed: int
    ) -> None:
        super().__init__()
        self.taps, self.dilation = taps, dilation
        self.expand = nn.Conv2d(taps * channels, hidden, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(hidden)
        self.squeeze = nn.Conv2d(hidden, channels, 1)
        self.take = nn.Conv2d(channels, taken, 1, bias=False)
        self.mix = nn.Linear(BANDS * taken, mixed, bias=False)
        self.mix_norm = nn.BatchNorm1d(mixed)
        self.unmix = nn.Linear(mixed, BANDS * taken)
        self.give = nn.Conv2d(taken, channels, 1)

    def forward(self, y: Tensor) -> Tensor:
        """[batch, channels, time, band] → the same shape."""
        batch, _, time, bands = y.shape
        past = F.pad(y, (0, 0, (self.taps - 1) * self.dilation, 0))
        # As a product, not as a dilated convolution: torch 2.13's bfloat16 gradient of that is NaN
        heard = [past[:, :, k * self.dilation :][:, :, :time] for k in range(self.taps)]
        y = y + self.squeeze(F.relu(self.expand_norm(self.expand(torch.cat(heard, 1)))))
        flat = self.take(y).permute(0, 2, 3, 1).reshape(batch * time, -1)
        flat = self.unmix(F.relu(self.mix_norm(self.mix(flat))))
        change: Tensor = self.give(flat.view(batch, time, bands, -1).permute(0, 3, 1, 2))
        return y + change


class BandTCN(MaskNet):
    """Training form, 257 bins, magnitude masks.

    Args:
        channels: of a band.
        hidden: channels inside a block.
        taken: values of a band that the full-band path reads and writes.
        mixed: units of that path.
        taps: frames that a block hears, the newest one included.
        dilations: one block each, frames between its taps.
        lookahead: frames.
        memory: frames of the running mean that levels the input.
    """

    growing = frozenset({"expand", "expand_norm", "squeeze", "mix", "mix_norm", "unmix"})

    def __init__(
        self,
        channels: int = 32,
        hidden: int = 64,
        taken: int = 8,
        mixed: int = 64,
        taps: int = 3,
        dilations: Sequence[int] = (1, 2, 4, 8, 16),
        lookahead: int = 0,
        memory: int = 192,
    ) -> None:
        super().__init__()
        self.lookahead, self.memory = lookahead, memory
        first = channels // 2
        self.windows = nn.Conv2d(1, first, (1, WINDOW), (1, 4), padding=(0, 2), bias=False)
        self.windows_norm = nn.BatchNorm2d(first)
        self.enter = nn.Conv2d(first, channels, (1, 4), (1, 2), padding=(0, 1), bias=False)
        self.enter_norm = nn.BatchNorm2d(channels)
        self.place = nn.Parameter(torch.zeros(channels, 1, BANDS))
        self.blocks = nn.Sequential(
            *(Block(channels, hidden, taps, d, taken, mixed) for d in dilations)
        )
        self.unfold = nn.Conv2d(channels, 2 * first, 1, bias=False)
        self.skip = nn.Conv2d(first, first, 1, bias=False)
        self.leave_norm = nn.BatchNorm2d(first)
        self.leave = nn.Linear(first, 4)
        with torch.no_grad():  # begin near a mask that lets the sound through
            self.leave.weight *= 0.2
            self.leave.bias.fill_(2.0)

    @property
    def answer(self) -> nn.Module:
        """The last linear layer."""
        return self.leave

    def stream(self) -> "Stream":
        """One frame at a time."""
        return Stream(self).eval()

    def widened(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of a network with fewer taps, or less in its `growing` layers, for this one.

        The answer stays the same: nothing listens yet to what is new. (Net2Net, Chen et al. 2016,
        arXiv:1511.05641, with zeros where that one divides copies.)
        """
        wide = {name: value.clone() for name, value in self.state_dict().items()}
        for name, narrow in weights.items():
            rows = wide[name][: len(narrow)] if narrow.ndim else wide[name]
            if narrow.ndim > 1:
                rows.zero_()
                width = narrow.shape[1]
                oldest_first = name.endswith("expand.weight")
                rows = rows[:, -width:] if oldest_first else rows[:, :width]
            rows.copy_(narrow)
        return wide

    def forward(self, x: Tensor) -> Tensor:
        """Feature [batch, 257, time] → mask of the same shape."""
        x = F.pad(x, (0, self.lookahead))
        x = x / (running_mean(x.mean(1, keepdim=True), self.memory) + QUIET)
        x = x.transpose(1, 2)[:, None, :, :-1].contiguous(memory_format=torch.channels_last)
        u = F.relu(self.windows_norm(self.windows(x)))
        y = self.enter_norm(self.enter(u))
        y = self.blocks(y + self.place.to(y.dtype))
        even, odd = self.unfold(y).chunk(2, 1)
        v = torch.stack((even, odd), -1).flatten(-2)
        v = F.relu(self.leave_norm(v + self.skip(u)))
        m = self.leave(v.permute(0, 2, 3, 1)).flatten(2)
        m = torch.cat((m, m[..., -1:]), -1).transpose(1, 2)
        return torch.sigmoid(m[..., self.lookahead :])


class StreamBlock(nn.Module):
    """A block's folded layers, for one frame."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.expand = folded(block.expand, block.expand_norm)
        self.squeeze = plain(block.squeeze)
        self.take = plain(block.take)
        self.mix = folded(block.mix, block.mix_norm)
        self.unmix = plain(block.unmix)
        self.give = plain(block.give)

    def forward(self, y: Tensor, heard: Tensor) -> Tensor:
        """y [band, channels], y at …, t−2d and t−d [band, (taps − 1)·channels] → y after it."""
        y = y + self.squeeze(F.relu(self.expand(torch.cat((heard, y), -1))))
        flat = self.unmix(F.relu(self.mix(self.take(y).reshape(1, -1))))
        change: Tensor = self.give(flat.reshape(len(y), -1))
        return y + change


class Stream(StreamNet):
    """Deployed form: one frame; weights copied from a trained `BandTCN`."""

    place: Tensor

    def __init__(self, net: BandTCN) -> None:
        super().__init__()
        self.memory = net.memory
        self.windows = folded(net.windows, net.windows_norm)
        self.enter = folded(net.enter, net.enter_norm)
        self.register_buffer("place", net.place[:, 0].T.detach().clone().contiguous())
        blocks = [block for block in net.blocks if isinstance(block, Block)]
        self.blocks = nn.ModuleList(StreamBlock(block) for block in blocks)
        scale, shift = _affine(net.leave_norm)
        self.unfold = _linear(net.unfold.weight.flatten(1) * scale.repeat(2)[:, None], None)
        self.skip = _linear(net.skip.weight.flatten(1) * scale[:, None], shift)
        self.leave = plain(net.leave)
        self.width, self.before = net.enter.out_channels, blocks[0].taps - 1
        rings = tuple(
            RingSpec(
                width=BANDS * self.width,
                delays=tuple(b.dilation * k for k in range(self.before, 0, -1)),
            )
            for b in blocks
        )
        self.states = (
            carried("frames", (1, 1), "frames that the mean level is of, / 1024"),
            carried("level", (1, 1), "mean of the feature"),
            State(
                StateSpec(input="delayed", output="newest", rings=rings),
                (1, self.before * len(blocks) * BANDS * self.width),
                "per block what it heard multiples of its dilation ago, oldest first",
            ),
        )

    def forward(
        self, frame: Tensor, frames: Tensor, level: Tensor, delayed: Tensor
    ) -> tuple[Tensor, ...]:
        """frame [1, 257] and states → mask [1, 257] and the new states."""
        frames = one_more(frames, self.memory)
        level = level + FRAME / frames * (frame.mean(-1, keepdim=True) - level)
        x = F.pad((frame / (level + QUIET))[:, :-1], (2, 2)).reshape(PLACES + 1, 4)
        u = F.relu(self.windows(torch.cat((x[:-1], x[1:]), -1)))
        pairs = F.pad(u, (0, 0, 1, 1)).reshape(BANDS + 1, -1)
        y = self.enter(torch.cat((pairs[:-1], pairs[1:]), -1)) + self.place
        taps = delayed.reshape(-1, self.before, BANDS, self.width).transpose(1, 2)
        past = torch.split(taps.reshape(len(self.blocks) * BANDS, -1), BANDS)
        newest = []
        for block, heard in zip(self.blocks, past, strict=True):
            newest.append(y)
            y = block(y, heard)
        v = F.relu(self.unfold(y).reshape(PLACES, -1) + self.skip(u))
        m = self.leave(v).reshape(1, -1)
        mask = torch.sigmoid(torch.cat((m, m[:, -1:]), -1))
        return mask, frames, level, torch.cat(newest).reshape(1, -1)


def folded(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Linear:
    """A layer and its norm as one linear layer on windows, channels innermost."""
    scale, shift = _affine(norm)
    weight = layer.weight
    if weight.ndim == 4:  # [out, in, 1, window] → [out, window · in]
        weight = weight[:, :, 0].transpose(1, 2).flatten(1)
    return _linear(weight * scale[:, None], shift)


def plain(layer: nn.Conv2d | nn.Linear) -> nn.Linear:
    """A 1 × 1 convolution or linear layer, copied."""
    return _linear(layer.weight.flatten(1), layer.bias)


def _affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """BatchNorm with its running statistics as scale · x + shift."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = nn.Parameter(weight.detach().clone().contiguous())
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().clone())
    return linear


def _main() -> None:
    from compress.proof import prove

    torch.manual_seed(0)
    for name, net in (("band TCN", BandTCN()), ("one frame ahead", BandTCN(lookahead=1))):
        net(torch.rand(2, BINS, 100))  # one training pass: BatchNorm has statistics
        prove(name, net, BINS)


if __name__ == "__main__":
    _main()
