"""FullSubNet: a full-band LSTM hears the spectrum, a sub-band LSTM each band with its neighbours.

Hao, Su, Horaud & Li 2021, arXiv:2010.15508. [F] is the authors' public code, [C] our choice.

    x_t                                    magnitude of frame t [F bands]
    f   = relu(W · LSTM²(x_t / mean))      full band                                          [F]
    u_k = (x_{k−15} … x_{k+15}, f_k)       sub-band unit, 32 values for each band k           [F]
    m_k = W' · LSTM²(u_k / mean_k)         the same weights for all bands; real, imaginary    [F]
    M   = expand(m)                        complex mask of frame t − 2 (parts.expand_mask)    [F]

Norms are cumulative (train_cumulativeLaplaceNorm.toml): the first mean runs over all bands and
frames so far, the second over the 32 values of its own band's unit [F]; `memory` bounds how far
they look back [C]. A magnitude mask, with one answer a band, is an option [C].

As published: 5,637,635 parameters, 471,387,392 multiply-accumulates a frame, 99.2 % of them in
the sub-band part. `python models/fullsubnet.py` proves it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from models.fullsubnet_parts import (
    EPSILON,
    FRAME,
    Kind,
    Layers,
    Part,
    bounded,
    neighbourhood,
    one_more,
    running_mean,
    start_transparent,
)
from models.masks import MaskNet, State, StreamNet, carried

PUBLISHED = 5_637_635, 471_387_392  # parameters, multiply-accumulates a frame


class FullSubNet(MaskNet):
    """Training form.

    Args:
        bands: length of one frame's feature.
        mask: "complex" (cIRM) or "magnitude".
        full: units of the full-band LSTM layers.
        sub: units of the sub-band LSTM layers.
        reach: neighbours of a band on each side.
        lookahead: frames.
        memory: frames of the running means; None: all of the past, as published.
    """

    neighbours: Tensor

    def __init__(
        self,
        bands: int = 257,
        mask: Kind = "complex",
        full: Sequence[int] = (512, 512),
        sub: Sequence[int] = (384, 384),
        reach: int = 15,
        lookahead: int = 2,
        memory: int | None = None,
    ) -> None:
        super().__init__()
        self.mask: Kind = mask
        self.lookahead, self.memory = lookahead, memory
        self.full: Part = Layers(bands, full, bands)  # also: models/tcn_hybrid.py
        self.sub = Layers(2 * reach + 2, sub, 2 if mask == "complex" else 1)
        self.register_buffer("neighbours", neighbourhood(bands, reach), persistent=False)
        start_transparent(self.sub.linear, mask)

    @property
    def answer(self) -> nn.Module:
        """The sub-band part's linear layer."""
        return self.sub.linear

    def forward(self, x: Tensor) -> Tensor:
        """Feature [batch, bands, time] → mask [batch, bands or 2·bands, time]."""
        x = F.pad(x, (0, self.lookahead))
        mean = running_mean(x.mean(1, keepdim=True), self.memory)
        f = F.relu(self.full(x / (mean + EPSILON)))
        units = torch.cat((x[:, self.neighbours], f[:, :, None]), 2)  # [batch, band, value, time]
        mean = running_mean(units.mean(2, keepdim=True), self.memory)
        m = self.sub((units / (mean + EPSILON)).flatten(0, 1))
        m = m.unflatten(0, units.shape[:2]).transpose(1, 2).flatten(1, 2)
        return bounded(m[..., self.lookahead :], self.mask)

    def stream(self) -> "Stream":
        """One frame at a time."""
        return Stream(self).eval()


class Stream(StreamNet):
    """Deployed form: the bands are the batch of the sub-band cells."""

    neighbours: Tensor

    def __init__(self, net: FullSubNet) -> None:
        super().__init__()
        bands = len(net.neighbours)
        self.mask, self.memory = net.mask, net.memory
        self.full = net.full.stream("full")
        self.sub = net.sub.stream("sub", rows=bands)
        self.register_buffer("neighbours", net.neighbours.clone())
        own = (
            carried("frames", (1, 1), "frames that the means are of, / 1024"),
            carried("level", (1, 1), "mean feature"),
            carried("levels", (bands, 1), "mean of each band's unit"),
        )
        self.states: tuple[State, ...] = (*own, *self.full.states, *self.sub.states)

    def forward(
        self, frame: Tensor, frames: Tensor, level: Tensor, levels: Tensor, *cells: Tensor
    ) -> tuple[Tensor, ...]:
        """frame [1, bands] and states → mask [1, bands or 2·bands] and new states."""
        split = len(self.full.states)
        frames = one_more(frames, self.memory)
        share = FRAME / frames
        level = level + share * (frame.mean(-1, keepdim=True) - level)
        f, full = self.full(frame / (level + EPSILON), cells[:split])
        units = torch.cat((torch.take(frame, self.neighbours), F.relu(f).T), -1)
        levels = levels + share * (units.mean(-1, keepdim=True) - levels)
        m, sub = self.sub(units / (levels + EPSILON), cells[split:])
        return bounded(m.T.reshape(1, -1), self.mask), frames, level, levels, *full, *sub


def _main() -> None:
    from compress.proof import prove

    torch.manual_seed(0)
    found = prove("FullSubNet", FullSubNet(), 257)
    if found != PUBLISHED:
        raise SystemExit(f"FullSubNet has {found} parameters and operations, not {PUBLISHED}")


if __name__ == "__main__":
    _main()
