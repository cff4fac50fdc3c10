"""Fast FullSubNet: the sub-band LSTM on shared mel bands and on every second frame only.

Hao & Li 2022, "Fast FullSubNet", arXiv:2212.09019. [F] is the authors' public code, [C] our choice.

    y   = mel · x_t                               B mel bands of the magnitude                [F]
    e   = relu(W · LSTM(y / mean))                encoder                                     [F]
    a   = mean of (y, e) over the last s frames   time down-sampling by the stride s          [F]
    u_k = (a.y_{k−5} … a.y_{k+5}, a.e_k)          sub-band unit, 12 values for each band k    [F]
    b_k = relu(W' · LSTM²(u_k / mean_k))          every s-th frame, kept until the next one   [F]
    m   = W'' · LSTM(e, b)                        decoder: all bins, real and imaginary       [F]
    M   = expand(m)                               complex mask of frame t − 2                 [F]

As published, every band is heard in the same frame of s. Then one frame in s does all the work
of the sub-band part and the others none, so the slowest frame gains nothing, and a graph that is
invoked once a frame cannot express it but by doing the work every time. `staggered` [C] hears band
k in the frames t ≡ k (mod s): every frame does 1/s of the work, the graph is the same in all
frames, and the slowest frame is as fast as the mean one. A band's LSTM still hears every s-th
frame, and the same sums of features; the state of a band is read again s frames later, which is a
ring of the host. Two frames in one invocation would cost a hop of latency for the same mean.

As published: 6,842,895 parameters, 62.3 M multiply-accumulates a frame. Widths, bands, stride and
the number of layers are arguments. `python models/fullsubnet_fast.py` proves it and prints some
members.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from device.errors import BadInputError
from models.fullsubnet_parts import (
    EPSILON,
    FRAME,
    Kind,
    Layers,
    bounded,
    neighbourhood,
    one_more,
    running_mean,
    start_transparent,
)
from models.masks import MaskNet, State, StreamNet, carried, delayed

PUBLISHED = 6_842_895, 62_276_228  # parameters, multiply-accumulates a frame
OPEN = 0.5  # what the sub-band part's ReLU lets through at first


class FastFullSubNet(MaskNet):
    """Training form.

    Args:
        bins: length of one frame's feature.
        mask: "complex" (cIRM) or "magnitude".
        bands: mel bands, a multiple of the stride where it is staggered.
        encoder, sub, decoder: units of the LSTM layers of each part.
        reach: neighbours of a band on each side.
        stride: frames from one step of a band's LSTM to its next.
        staggered: in each frame other bands, see the module's head.
        lookahead: frames.
        memory: frames of the running means, a stride at least; None: all of the past, as published.
        normed: a batch norm in front of each part's LSTMs [C]: it learns far sooner.
        rate: Hz, for the mel scale.
    """

    mel: Tensor  # [bins, bands]
    neighbours: Tensor

    def __init__(
        self,
        bins: int = 257,
        mask: Kind = "complex",
        bands: int = 64,
        encoder: Sequence[int] = (384, 257),
        sub: Sequence[int] = (384, 384),
        decoder: Sequence[int] = (512, 512),
        reach: int = 5,
        stride: int = 2,
        staggered: bool = True,
        lookahead: int = 2,
        memory: int | None = None,
        normed: bool = False,
        rate: int = 16_000,
    ) -> None:
        super().__init__()
        if staggered and bands % stride:
            raise BadInputError(f"{bands} bands cannot be staggered over {stride} frames")
        if memory is not None and memory < stride:
            raise BadInputError(f"memory of {memory} frames is less than the stride of {stride}")
        self.mask: Kind = mask
        self.stride, self.groups = stride, stride if staggered else 1
        self.lookahead, self.memory = lookahead, memory
        self.encoder = Layers(bands, encoder, bands, normed)
        self.sub = Layers(2 * reach + 2, sub, 1, normed)
        outputs = bins * (2 if mask == "complex" else 1)
        self.decoder = Layers(2 * bands, decoder, outputs, normed)
        mel = melscale_fbanks(bins, 0.0, rate / 2, bands, rate)
        self.register_buffer("mel", mel, persistent=False)
        self.register_buffer("neighbours", neighbourhood(bands, reach), persistent=False)
        start_transparent(self.decoder.linear, mask)
        # all bands share one output: below zero at first, it would stay there for good
        nn.init.constant_(self.sub.linear.bias, OPEN)

    @property
    def answer(self) -> nn.Module:
        """The decoder's linear layer."""
        return self.decoder.linear

    def forward(self, x: Tensor) -> Tensor:
        """Feature [batch, bins, time] → mask [batch, bins or 2·bins, time]."""
        y = self.mel.T @ F.pad(x, (0, self.lookahead))
        mean = running_mean(y.mean(1, keepdim=True), self.memory)
        e = F.relu(self.encoder(y / (mean + EPSILON)))
        m = self.decoder(torch.cat((e, self._sub_bands(y, e)), 1))
        return bounded(m[..., self.lookahead :], self.mask)

    def _sub_bands(self, y: Tensor, e: Tensor) -> Tensor:
        """Mel bands and encoder output [batch, band, time] → b, the same shape."""
        time = y.shape[-1]
        heard = torch.arange(1, time + 1, device=y.device).clamp(max=self.stride)
        sums = sum(F.pad(torch.cat((y, e), 1), (lag, 0))[..., :time] for lag in range(self.stride))
        y, e = (sums / heard).chunk(2, 1)
        groups = [self._group(y, e, first) for first in range(self.groups)]
        return torch.stack(groups, 2).flatten(1, 2)  # band k is number k // groups of its group

    def _group(self, y: Tensor, e: Tensor, first: int) -> Tensor:
        """The bands first, first + groups, …: heard in the frames first, first + stride, …; zero
        before.
        """
        bands = slice(first, None, self.groups)
        frames = slice(first, None, self.stride)
        if first >= y.shape[-1]:
            return torch.zeros_like(y[:, bands])
        near = y[:, self.neighbours[bands]][..., frames]
        units = torch.cat((near, e[:, bands, None, frames]), 2)  # [batch, band, value, time / s]
        mean = running_mean(units.mean(2, keepdim=True), self.memory)
        b = F.relu(self.sub((units / (mean + EPSILON)).flatten(0, 1))).view(units[:, :, 0].shape)
        return F.pad(b.repeat_interleave(self.stride, -1), (first, 0))[..., : y.shape[-1]]

    def stream(self) -> "Stream":
        """One frame at a time.

        Raises:
            BadInputError: strided, but not staggered: one frame's work depends on its number.
        """
        if self.groups != self.stride:
            raise BadInputError("only a staggered Fast FullSubNet can be streamed")
        return Stream(self).eval()


class Stream(StreamNet):
    """Deployed form: each frame steps the bands whose turn it is."""

    mel: Tensor
    neighbours: Tensor

    def __init__(self, net: FastFullSubNet) -> None:
        super().__init__()
        bands, self.stride = len(net.neighbours), net.stride
        rows = bands // self.stride
        self.mask, self.memory = net.mask, net.memory
        self.encoder = net.encoder.stream("encoder")
        self.sub = net.sub.stream("sub", rows, self.stride)
        self.decoder = net.decoder.stream("decoder")
        self.register_buffer("mel", net.mel.T.clone())
        self.register_buffer("neighbours", net.neighbours.clone())
        own = [
            carried("frames", (1, 1), "frames that the mean feature is of, / 1024"),
            carried("level", (1, 1), "mean mel feature"),
            delayed("steps", 1, (self.stride,), "steps of the bands whose turn it is, / 1024"),
            delayed("levels", rows, (self.stride,), "mean of each of their units"),
        ]
        if self.stride > 1:
            own += [
                carried("turn", (1, self.stride - 1), "1 where it is another group's turn"),
                delayed("heard", 2 * bands, range(1, self.stride), "mel bands, encoder outputs"),
                carried("kept", (rows, self.stride), "newest sub-band output of every band"),
            ]
        self._own = len(own)
        parts = (self.encoder, self.sub, self.decoder)
        self.states: tuple[State, ...] = (*own, *(s for part in parts for s in part.states))

    def forward(self, frame: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """frame [1, bins] and states → mask [1, bins or 2·bins] and new states."""
        ends = [self._own]
        for part in (self.encoder, self.sub, self.decoder):
            ends.append(ends[-1] + len(part.states))
        own, *cells = (states[a:b] for a, b in zip([0, *ends], ends, strict=False))
        frames, level, steps, levels, *rest = own
        y = F.linear(frame, self.mel)
        frames = one_more(frames, self.memory)
        level = level + FRAME / frames * (y.mean(-1, keepdim=True) - level)
        e, encoder = self.encoder(y / (level + EPSILON), cells[0])
        e = F.relu(e)

        units, turn, waiting = self._turn(torch.cat((y, e), -1), frames, rest)
        steps = one_more(steps, self.memory)
        mean = levels.T + FRAME / steps * (units.mean(-1, keepdim=True) - levels.T)
        b, sub = self.sub(units / (mean + EPSILON), cells[1])
        b = F.relu(b)
        if self.stride > 1:
            kept = rest[2]
            b = kept + turn * (b - kept)
            waiting.append(b)

        m, decoder = self.decoder(torch.cat((e, b.reshape(1, -1)), -1), cells[2])
        new = (frames, level, steps, mean.T, *waiting, *encoder, *sub, *decoder)
        return bounded(m, self.mask), *new

    def _turn(
        self, now: Tensor, frames: Tensor, rest: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Units of the bands whose turn it is [rows, value], the turn as one of `stride`, states.

        The turn is carried without its first place, so that zeros are the first group's turn.
        """
        if self.stride == 1:
            return self._units(now), now, []
        others, heard, _ = rest
        turn = torch.cat((1 - others.sum(-1, keepdim=True), others), -1)
        summed = now + heard.reshape(self.stride - 1, -1).sum(0, keepdim=True)
        units = self._units(summed * (FRAME / frames.clamp(max=self.stride * FRAME)))
        units = units.reshape(-1, self.stride, units.shape[-1])
        chosen = (units * turn[..., None]).sum(1)
        return chosen, turn, [turn[:, :-1], now]

    def _units(self, both: Tensor) -> Tensor:
        """Mel bands and encoder output [1, 2·bands] → units [bands, value]."""
        y, e = both.chunk(2, -1)
        return torch.cat((torch.take(y, self.neighbours), e.T), -1)


def _main() -> None:
    from compress.proof import prove

    torch.manual_seed(0)
    found = prove("Fast FullSubNet, published widths", FastFullSubNet(), 257)
    if found != PUBLISHED:
        raise SystemExit(f"Fast FullSubNet has {found} parameters and operations, not {PUBLISHED}")
    half = FastFullSubNet(encoder=(192, 128), sub=(192, 192), decoder=(256, 256))
    prove("half as wide", half, 257)
    small = FastFullSubNet(257, "magnitude", encoder=(160,), sub=(64, 64), decoder=(192,))
    prove("small, magnitude mask", small, 257)


if __name__ == "__main__":
    _main()
