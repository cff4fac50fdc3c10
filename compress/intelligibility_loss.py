"""STOI as a loss of magnitude masks, over STFT frames.

Taal et al. 2011, doi:10.1109/TASL.2011.2114881. Of power spectra [bin, frame]:

    X, Y   magnitudes of estimate and target in 15 third-octave bands from 150 Hz
    x, y   each band over 384 ms, from every frame on
    x'     min(x·‖y‖/‖x‖, (1 + 10^0.75)·y)                         louder than −15 dB SDR is clipped
    STOI   mean over bands and spans of the correlation of x' and y
    loss   1 − STOI

Against the paper: frames of 32 ms at 16 kHz in place of 25.6 ms at 10 kHz, so that it needs no
inverse STFT and no other rate, and a span whose target lies 40 dB below its loudest does not count
where the paper takes such frames out of the sound first.
"""

import numpy as np
import torch
from torch import Tensor, nn

from compress.perceptual_loss import N_FFT, RATE

BANDS, LOWEST = 15, 150.0  # Hz
SPAN = 24  # frames of 16 ms
CLIP = 1 + 10**0.75  # β = −15 dB
PAUSE = 1e-4  # of the loudest span's energy
TINY = 1e-8


def band_matrix() -> Tensor:
    """[band, bin]: 1 where a third octave holds a bin, at least one bin each."""
    centre = LOWEST * 2 ** (np.arange(BANDS) / 3)
    first, end = (np.rint(centre * 2 ** (s / 6) * N_FFT / RATE).astype(int) for s in (-1, 1))
    bands = torch.zeros(BANDS, N_FFT // 2 + 1)
    for band in range(BANDS):
        bands[band, first[band] : max(end[band], first[band] + 1)] = 1
    return bands


class Intelligibility(nn.Module):
    """The loss, with its bands as a buffer."""

    bands: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bands", band_matrix())

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Power spectra [batch, bin, frame] → [batch]: 0 for equal ones, .3 for plain noise.

        At least 24 frames; a target without any speech has no meaning here.
        """
        x, y = (
            (self.bands @ power + TINY).sqrt().unfold(2, SPAN, 1) for power in (estimate, target)
        )
        x = x * (_norm(y) / _norm(x))
        x = torch.minimum(x, CLIP * y)
        energy = y.square().sum((1, 3))
        counts = (energy > PAUSE * energy.amax(1, keepdim=True)).to(y.dtype)
        x, y = (s - s.mean(3, keepdim=True) for s in (x, y))
        alike = ((x * y).sum(3) / (_norm(x) * _norm(y))[..., 0]).mean(1)
        return 1 - (alike * counts).sum(1) / counts.sum(1)


def _norm(spans: Tensor) -> Tensor:
    return (spans.square().sum(3, keepdim=True) + TINY).sqrt()
