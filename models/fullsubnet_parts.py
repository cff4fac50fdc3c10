"""What FullSubNet, its fast form and the TCN hybrid are made of.

LSTM layers       one nn.LSTM each, so that each may lose units of its own; streamed cell by cell;
                  on request behind a batch norm [C]: levels are all positive, around one, and
                  without it most of what the first LSTM hears is that constant
running mean      μ_t = μ_{t−1} + (level_t − μ_{t−1}) / min(t + 1, memory): the mean of all frames
                  up to t while t < memory, after that one that forgets at this rate; a frame is
                  divided by μ + ε (the papers' cumulative Laplace norm, whose memory has no end)
sub-band units    a band with its neighbours on both sides, reflected at the ends of the spectrum
cIRM              complex ideal ratio mask M = S_clean / S_noisy, real and imaginary part each
                  compressed by K·(1 − e^(−C·M)) / (1 + e^(−C·M)), K = 10, C = 0.1
                  (Williamson, Wang & Wang 2016)
"""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from models.masks import State, carried, delayed
from models.recurrent import Recurrent

EPSILON = float(torch.finfo(torch.float32).eps)  # the authors' code
FRAME = 2.0**-10  # a carried count grows by this: bundles may have one tolerance for all states
K, C = 10.0, 0.1
LIMIT = 9.9  # |compressed mask| that is still expanded: a gain of 53

Kind = Literal["complex", "magnitude"]


class StreamPart(nn.Module):
    """One frame of a part: input and states in, output and new states out."""

    states: tuple[State, ...]

    @abstractmethod
    def forward(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """x [rows, inputs] → [rows, outputs] and the new states."""


class Part(nn.Module):
    """A part that remembers: [batch, inputs, time] → [batch, outputs, time]."""

    @abstractmethod
    def stream(self, name: str, rows: int = 1, every: int = 1) -> StreamPart:
        """The same for one frame of `rows` sequences at a time; `name` begins its states' names.

        Args:
            every: frames from one call's outputs to the next call's inputs of the same rows.
        """


class Layers(Part):
    """LSTM layers and a linear one: [batch, inputs, time] → [batch, outputs, time]."""

    def __init__(
        self, inputs: int, units: Sequence[int], outputs: int, normed: bool = False
    ) -> None:
        super().__init__()
        widths = (inputs, *units)
        self.norm = nn.BatchNorm1d(inputs) if normed else None
        self.lstms = nn.ModuleList(
            nn.LSTM(before, after, batch_first=True) for before, after in pairwise(widths)
        )
        self.linear = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The whole sequence."""
        if self.norm is not None:
            x = self.norm(x)
        x = x.transpose(1, 2)
        for lstm in self.lstms:
            x, _ = lstm(x)
        return at_least_single(self.linear(x)).transpose(1, 2)

    def stream(self, name: str, rows: int = 1, every: int = 1) -> "StreamLayers":
        """See Part."""
        return StreamLayers(self, name, rows, every)


class Affine(nn.Module):
    """What a batch norm does once it is trained: [rows, inputs] → the same shape."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
        self.scale = nn.Parameter(scale)
        self.shift = nn.Parameter(norm.bias.detach() - norm.running_mean * scale)

    def forward(self, x: Tensor) -> Tensor:
        """One frame."""
        return x * self.scale + self.shift


class Cell(nn.Module):
    """One frame of an LSTM layer, with explicit state; gates in torch's order.

    One product hears input and state beside each other: two would be a tenth slower in int8, which
    measures the range of what goes into each, and have a sum behind them.

    Args:
        w_x: [4 · units, inputs].
        w_h: [4 · units, units].
        bias: [4 · units], where torch has two.
    """

    def __init__(self, w_x: Tensor, w_h: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.units = w_h.shape[1]
        self.gates = nn.Linear(w_x.shape[1] + self.units, 4 * self.units)
        self.gates.weight = nn.Parameter(torch.cat((w_x, w_h), 1).detach())
        self.gates.bias = nn.Parameter(bias.detach().clone())

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """x [rows, inputs]; h and c [rows, units] → the new h and c."""
        h, c = state
        i, f, g, o = self.gates(torch.cat((x, h), -1)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class StreamLayers(StreamPart):
    """`Layers`, one frame of `rows` sequences at a time."""

    def __init__(self, layers: Layers, name: str, rows: int, every: int) -> None:
        super().__init__()
        self.norm = nn.Identity() if layers.norm is None else Affine(layers.norm)
        self.cells = nn.ModuleList(cell for lstm in layers.lstms for cell in _cells(lstm))
        self.linear = copy.deepcopy(layers.linear)
        self.states: tuple[State, ...] = tuple(
            carried(key, (rows, cell.units), meaning)
            if every == 1
            else delayed(key, rows * cell.units, (every,), f"{meaning}, {every} frames ago")
            for index, cell in enumerate(self._steps, 1)
            for key, meaning in (
                (f"{name}{index}_h", f"output of LSTM layer {index} of the {name} part"),
                (f"{name}{index}_c", f"cell of LSTM layer {index} of the {name} part"),
            )
        )

    @property
    def _steps(self) -> list[Cell | Recurrent]:
        return [cell for cell in self.cells if isinstance(cell, Cell | Recurrent)]

    def forward(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """x [rows, inputs] → [rows, outputs] and the new states."""
        x, new = self.norm(x), list[Tensor]()
        for index, cell in enumerate(self._steps):
            before = states[2 * index : 2 * index + 2]
            shaped = tuple(state.reshape(len(x), cell.units) for state in before)
            after = cell.step(x, shaped)
            new += [value.reshape(old.shape) for value, old in zip(after, before, strict=True)]
            x = after[0]
        return self.linear(x), new


def _cells(layer: nn.Module) -> list[nn.Module]:
    """Cells of a layer as it was built, or of what compression has put in its place."""
    if isinstance(layer, nn.LSTM):
        w_x, w_h, b_x, b_h = layer.parameters()
        return [Cell(w_x, w_h, b_x + b_h)]
    return [_cell(part) for part in layer.modules() if isinstance(part, Recurrent)]


def _cell(layer: Recurrent) -> nn.Module:
    """One product where both matrices are stored whole; other forms need one each."""
    parts = [*layer.x.parts, *layer.h.parts]
    whole = all(part.rank is None and part.kept is None for part in parts)
    if layer.kind == "lstm" and len(parts) == 2 and whole:
        return Cell(layer.x.dense(), layer.h.dense(), layer.bias)
    return copy.deepcopy(layer)


def at_least_single(x: Tensor) -> Tensor:
    """float32 where autocast made it half; float64, in which proofs are, stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def running_mean(level: Tensor, memory: int | None) -> Tensor:
    """Mean of all or the last `memory` frames up to each: [..., time] → the same shape."""
    mean, means = torch.zeros_like(level[..., 0]), list[Tensor]()
    for index, now in enumerate(level.unbind(-1), 1):
        share = 1 / (index if memory is None else min(index, memory))
        mean = mean + share * (now - mean)
        means.append(mean)
    return torch.stack(means, -1)


def one_more(frames: Tensor, memory: int | None) -> Tensor:
    """A carried number of frames, times FRAME, and one more. It stops at `memory`, or at 2^24
    frames (three days), where one more is no longer another float32.
    """
    frames = frames + FRAME
    return frames if memory is None else frames.clamp(max=memory * FRAME)


def neighbourhood(bands: int, reach: int) -> Tensor:
    """Indices [bands, 2·reach + 1] of each band's neighbours, reflected at both ends."""
    index = (torch.arange(bands)[:, None] + torch.arange(-reach, reach + 1)).abs()
    last = bands - 1
    return torch.where(index > last, 2 * last - index, index)


def compress_mask(mask: Tensor) -> Tensor:
    """Real or imaginary part of a complex mask → −K…K."""
    return K * torch.tanh(C / 2 * mask)


def expand_mask(value: Tensor) -> Tensor:
    """The inverse of `compress_mask`, limited."""
    value = value.clamp(-LIMIT, LIMIT)
    return torch.log((K + value) / (K - value)) / C


def bounded(value: Tensor, kind: Kind) -> Tensor:
    """A network's answer as a mask: expanded cIRM, or magnitudes 0…1."""
    return expand_mask(value) if kind == "complex" else torch.sigmoid(value)


def start_transparent(linear: nn.Linear, kind: Kind) -> None:
    """Begin near a mask that lets the sound through: training starts at the noisy input.

    Rows of a complex mask are real parts, then as many imaginary ones.
    """
    with torch.no_grad():
        linear.weight *= 0.1
        linear.bias.fill_(0.0 if kind == "complex" else 2.0)  # sigmoid: 0.88
        if kind == "complex":
            linear.bias[: linear.out_features // 2] = compress_mask(torch.tensor(1.0))
