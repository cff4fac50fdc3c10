"""Causal temporal convolutional network that predicts a spectral mask, one frame at a time.

After Conv-TasNet's separator (Luo & Mesgarani 2019, arXiv:1809.07454), on STFT frames and with
nothing that looks ahead:

    x_t                                  feature of frame t             [input]
    y   = norm(W_in x)                                                  [residual]
    z_t = relu(norm(W_expand y_t))                                      [hidden]   in each block,
    y_t ← y_t + W_squeeze relu(norm(Σ_k taps_k · z_{t−kd})), k = 0…2    [residual] dilation d
    m   = limit · tanh(W_out y)  for a complex mask,  sigmoid(W_out y)  for a magnitude mask

Two forms share the weights: `TCN` takes whole sequences [batch, input, time] and is what trains
and what is pruned; `Stream` takes one frame and each block's z at t-2d and t-d, and returns the
new z: the host keeps the rings. Normalisation is BatchNorm, so it folds into the weights and no
statistic is taken over time when the network runs.

`python -m models.tcn` prints its cost, proves causality and compares the two forms.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from device.manifest import RingSpec, StateSpec

TAPS = 3
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


class TCN(nn.Module):
    """Training form.

    Args:
        inputs: length of one frame's feature.
        outputs: length of one frame's mask.
        mask: "magnitude" (sigmoid, 0…1) or "complex" (tanh, ±COMPLEX_LIMIT).
        residual: channels between blocks.
        hidden: channels inside a block.
        dilations: one block each, in frames.
    """

    def __init__(
        self,
        inputs: int = 257,
        outputs: int = 257,
        mask: Literal["complex", "magnitude"] = "magnitude",
        residual: int = 160,
        hidden: int = 320,
        dilations: Sequence[int] = (1, 2, 4, 8, 16) * 2,
    ) -> None:
        super().__init__()
        self.mask = mask
        self.enter = nn.Conv1d(inputs, residual, 1, bias=False)
        self.enter_norm = nn.BatchNorm1d(residual)
        self.blocks = nn.Sequential(*(Block(residual, hidden, d) for d in dilations))
        self.leave = nn.Conv1d(residual, outputs, 1)
        self._start_transparent()

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
        return bounded(self.leave(self.blocks(self.enter_norm(self.enter(x)))), self.mask)


class Stream(nn.Module):
    """Deployed form: one frame. BatchNorm folded; weights copied from a trained `TCN`."""

    past_taps: Tensor  # [1, Σ 2·hidden], as `delayed`
    past_shift: Tensor

    def __init__(self, net: TCN) -> None:
        super().__init__()
        blocks = [block for block in net.blocks if isinstance(block, Block)]
        self.mask = net.mask
        self.enter = _folded(net.enter, net.enter_norm)
        self.expand = nn.ModuleList(_folded(b.expand, b.expand_norm) for b in blocks)
        self.squeeze = nn.ModuleList(_linear(b.squeeze.weight, b.squeeze.bias) for b in blocks)
        self.leave = _linear(net.leave.weight, net.leave.bias)
        self.widths = [b.expand.out_channels for b in blocks]
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

    @property
    def state(self) -> StateSpec:
        """The rings that the host keeps: per block, z at t-2d and t-d."""
        return StateSpec(
            input="delayed",
            output="newest",
            rings=tuple(
                RingSpec(width=width, delays=(2 * d, d))
                for width, d in zip(self.widths, self.dilations, strict=True)
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


def _folded(conv: nn.Conv1d, norm: nn.BatchNorm1d) -> nn.Linear:
    scale, shift = _affine(norm)
    return _linear(conv.weight * scale[:, None, None], shift)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    assert bias is not None
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight = nn.Parameter(weight[:, :, 0].detach().clone())
    linear.bias = nn.Parameter(bias.detach().clone())
    return linear


def macs(net: TCN) -> int:
    """Multiply-accumulates per frame: every weight of every convolution is used once."""
    return sum(layer.weight.numel() for layer in net.modules() if isinstance(layer, nn.Conv1d))


def stream_whole(stream: Stream, x: Tensor) -> Tensor:
    """The streaming form over a sequence [1, inputs, time] → [1, outputs, time]; an oracle.

    Keeps every past vector instead of rings: the plain meaning of StateSpec.
    """
    past: list[Tensor] = []
    masks = []
    starts = [sum(stream.widths[:index]) for index in range(len(stream.widths))]
    for frame in x[0].T:
        delayed = []
        rings = zip(starts, stream.state.rings, strict=True)
        for start, ring in rings:
            for delay in ring.delays:
                known = len(past) >= delay
                vector = past[-delay][:, start : start + ring.width] if known else None
                delayed.append(torch.zeros(1, ring.width) if vector is None else vector)
        mask, newest = stream(frame[None], torch.cat(delayed, -1))
        past.append(newest)
        masks.append(mask)
    return torch.stack(masks, -1)


def _main() -> None:
    """Print cost, causality and the difference between the forms of an untrained network."""
    import contextlib
    import io
    import tempfile
    from pathlib import Path
    from time import perf_counter

    import litert_torch
    from ai_edge_litert import schema_py_generated as schema

    from device.runtime import Runtime

    torch.manual_seed(0)
    net = TCN()
    frames, changed = 300, 200
    x = torch.rand(1, 257, frames)
    net(x)  # one training pass: BatchNorm has statistics
    stream = Stream(net.eval()).eval()
    parameters = sum(p.numel() for p in net.parameters())
    print(f"parameters {parameters:,}   MAC/frame {macs(net):,}   blocks {len(net.blocks)}")
    with torch.no_grad():
        before = net(x)
        future = x.clone()
        future[..., changed:] = torch.rand(1, 257, frames - changed)
        after = net(future)
        past_change = (after - before)[..., :changed].abs().max().item()
        future_change = (after - before)[..., changed:].abs().max().item()
        print(f"causal: other future from frame {changed} on: past differs by {past_change:.1g},")
        print(f"        future by {future_change:.2g}")
        difference = (stream_whole(stream, x) - before).abs().max().item()
    print(f"stream − offline over {frames} frames: {difference:.1g}")
    example = (x[..., 0], torch.zeros(1, len(stream.past_taps[0])))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tcn.tflite"
        with contextlib.redirect_stdout(io.StringIO()):  # the converter reports every pass
            litert_torch.convert(stream, example).export(str(path))
        runtime = Runtime(path)
        graph = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0).subgraphs[0]
        runtime.feed({f"args_{i}": value.numpy() for i, value in enumerate(example)})
        times = []
        for _ in range(500):
            start = perf_counter()
            runtime.invoke()
            times.append(1e3 * (perf_counter() - start))
        print(f"nodes {len(graph.operators)}   file {path.stat().st_size / 1e3:.0f} kB")
        print(f"latency per frame {sorted(times)[250]:.3f} ms median, {runtime.description}")


if __name__ == "__main__":
    _main()
