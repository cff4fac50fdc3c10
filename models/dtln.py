"""DTLN: two LSTM separators one behind the other, the first on spectra, the second on features.

N. Westhausen, B. Meyer, "Dual-Signal Transformation LSTM Network for Real-Time Noise
Suppression", Interspeech 2020, arXiv:2005.07551; weights from github.com/breizhn/DTLN (MIT).

    x_t                     512 samples that end with the t-th hop of 128, no window
    m_t = separator₁(|rfft x_t|)            y_t = irfft(m_t · rfft x_t)
    e_t = W_e y_t                           z_t = W_d (separator₂(norm e_t) · e_t)
    sound = overlap-add of z_t              separator: two LSTM layers, a linear layer, sigmoid

norm is over the 256 features of one frame, with gain and shift. The matrices of all layers can be
stored in any form (models/projections.py).

`DTLN` takes whole recordings; `SpectrumStep` and `FeatureStep` are the two deployed parts, one
frame each with the states outside, as the published TFLite files have them.
`python models/dtln.py` prints what they cost.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from device.errors import BadInputError
from models.projections import Map, Matrix
from models.recurrent import Recurrent

FRAME, HOP = 512, 128  # samples at 16 kHz
BINS, FEATURES, UNITS = FRAME // 2 + 1, 256, 128
EPSILON = 1e-7  # added to the variance
DROPOUT = 0.25  # between the LSTM layers, as it was trained


class Separator(nn.Module):
    """Two LSTM layers and the mask of their input."""

    def __init__(self, size: int, units: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [Recurrent("lstm", size, units), Recurrent("lstm", units, units)]
        )
        self.mask = Map(units, size)

    def forward(self, x: Tensor) -> Tensor:
        """[frame, batch, size] → mask of the same shape."""
        for index, layer in enumerate(self.layers):
            x, _ = layer(F.dropout(x, DROPOUT, self.training and index > 0))
        return torch.sigmoid(self.mask(x))

    def step(self, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """[1, size] and h, c of both layers → mask and new states."""
        ends: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, Recurrent)
            h, c = layer.step(x, (states[2 * index], states[2 * index + 1]))
            ends += [h, c]
            x = h
        return (torch.sigmoid(self.mask(x)), *ends)


class DTLN(nn.Module):
    """Training form."""

    def __init__(self, units: int = UNITS) -> None:
        super().__init__()
        self.spectrum = Separator(BINS, units)
        self.encode = Map(FRAME, FEATURES, bias=False)
        self.gain = nn.Parameter(torch.ones(FEATURES))
        self.shift = nn.Parameter(torch.zeros(FEATURES))
        self.feature = Separator(FEATURES, units)
        self.decode = Map(FEATURES, FRAME, bias=False)

    def forward(self, sound: Tensor) -> Tensor:
        """[batch, time] → [batch, time], aligned."""
        length, history = sound.shape[1], FRAME - HOP
        missing = -length % HOP + history
        frames = F.pad(sound, (history, missing)).unfold(1, FRAME, HOP).transpose(0, 1)
        spectrum = torch.fft.rfft(frames)
        y = torch.fft.irfft(spectrum * self.spectrum(spectrum.abs()), FRAME)
        encoded = self.encode(y)
        z = self.decode(encoded * self.feature(self.norm(encoded)))
        total = HOP * (len(z) - 1) + FRAME
        summed = F.fold(z.permute(1, 2, 0), (1, total), (1, FRAME), stride=(1, HOP))
        return summed[:, 0, 0, history : history + length]

    def norm(self, encoded: Tensor) -> Tensor:
        """Over the features of each frame."""
        centred = encoded - encoded.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return centred * torch.rsqrt(variance + EPSILON) * self.gain + self.shift


class SpectrumStep(nn.Module):
    """First deployed part."""

    def __init__(self, net: DTLN) -> None:
        super().__init__()
        self.separator = net.spectrum

    def forward(self, magnitude: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """[1, bins] and h0, c0, h1, c1 → mask [1, bins] and the new states."""
        return self.separator.step(magnitude, states)


class FeatureStep(nn.Module):
    """Second deployed part."""

    def __init__(self, net: DTLN) -> None:
        super().__init__()
        self.net = net
        self.separator = net.feature

    def forward(self, frame: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Masked frame [1, 512] and states → samples to be overlap-added [1, 512], new states."""
        encoded = self.net.encode(frame)
        mask, *ends = self.separator.step(self.net.norm(encoded), states)
        return (self.net.decode(encoded * mask), *ends)


def widths(separator: Separator) -> dict[str, int]:
    """Names and lengths of a separator's states."""
    layers = [layer for layer in separator.layers if isinstance(layer, Recurrent)]
    return {f"{part}{i}": layer.units for i, layer in enumerate(layers) for part in "hc"}


def load(path: Path) -> DTLN:
    """The published Keras weights (`model.h5`). Keras' gate order i, f, c, o is torch's.

    Raises:
        BadInputError: no such file, or other weights in it.
    """
    import h5py  # type: ignore[import-untyped]  # for nothing else than published weights

    try:
        with h5py.File(path) as stored:
            found: dict[str, np.ndarray[Any, Any]] = {}
            stored.visititems(
                lambda name, item: (
                    found.update({name.split("/", 1)[1]: np.array(item)})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
    except (OSError, IndexError) as error:
        raise BadInputError(f"{path}: cannot be read as Keras weights: {error}") from error
    values = {name: torch.from_numpy(value).float() for name, value in found.items()}
    net = DTLN()
    try:
        with torch.no_grad():
            for number, layer in enumerate([*net.spectrum.layers, *net.feature.layers]):
                assert isinstance(layer, Recurrent)
                name = "lstm" if number == 0 else f"lstm_{number}"
                _put(layer.x.parts[0], values[f"{name}/kernel:0"].T)
                _put(layer.h.parts[0], values[f"{name}/recurrent_kernel:0"].T)
                layer.bias.copy_(values[f"{name}/bias:0"])
            for name, linear in (("dense", net.spectrum.mask), ("dense_1", net.feature.mask)):
                _put(linear.x.parts[0], values[f"{name}/kernel:0"].T)
                assert linear.bias is not None
                linear.bias.copy_(values[f"{name}/bias:0"])
            _put(net.encode.x.parts[0], values["conv1d/kernel:0"][0].T)
            _put(net.decode.x.parts[0], values["conv1d_1/kernel:0"][0].T)
            net.gain.copy_(values["layer_normalization/gamma:0"])
            net.shift.copy_(values["layer_normalization/beta:0"])
    except (KeyError, RuntimeError) as error:
        raise BadInputError(f"{path}: not DTLN's weights: {error}") from error
    return net


def _put(matrix: Matrix, value: Tensor) -> None:
    matrix.factors[0].copy_(value)


@torch.no_grad()
def _main() -> None:
    from compress import count

    torch.manual_seed(0)
    net = DTLN().eval()
    macs = 0
    for step, size in ((SpectrumStep(net).eval(), BINS), (FeatureStep(net).eval(), FRAME)):
        states = [torch.zeros(1, units) for units in widths(step.separator).values()]
        macs += count.macs(step, torch.rand(1, size), *states)
    print(f"DTLN: {count.parameters(net):,} parameters, {macs:,} MAC/frame of {HOP} samples")
    sound = torch.rand(1, 64 * HOP)
    other, changed = sound.clone(), 40 * HOP
    other[:, changed:] = torch.rand(1, sound.shape[1] - changed)
    change = (net(other) - net(sound)).abs()[0]
    past, future = float(change[: changed - FRAME].max()), float(change[changed:].max())
    print(f"  causal: another future changes nothing {FRAME} samples before it ({past:.1g}), but")
    print(f"    what follows ({future:.1g})")


if __name__ == "__main__":
    _main()
