"""The enhancer's loss for magnitude masks, from real numbers and without an inverse STFT.

A magnitude mask m only scales the noisy spectrum S, so all that the loss needs of a mixture are
three real images, computed once a batch and without gradients:

    P = |S|²    Q = |Y|²    R = Re(S·Ȳ)                                    [batch, bin, frame]

    SI-SDR    10·log10( A²/q / (E − A²/q) )   A = Σ w·m·R    E = Σ w·m²·P    q = Σ w·Q
    distance  ½ mean (p^0.15 − q^0.15)² + ½ mean |mS·p^−0.35 − Y·q^−0.35|²,  p = m²·P + floor

Y  spectrum of the target     w  2 for bins whose mirror image is not stored, else 1

The distance is that of compress/spectra.py. The ratio is over STFT frames: square-root Hann windows
at half overlap are a tight frame, so ⟨ŷ, y⟩ is the same as in time, and the energy of the error is
at least that of the sound: what no sound can have is counted as error, too. So it bounds the SI-SDR
of the sound from below, and is equal where the mask is constant. A step of the small TCN takes half
the time (tests/compress/test_mask_loss.py holds both against compress/spectra.py).
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from compress.spectra import FLOOR, POWER

SMALL = 1e-8


@dataclass(frozen=True)
class Images:
    """P, Q and R [batch, bin, frame] of mixtures and what they should become."""

    noisy: Tensor
    target: Tensor
    both: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, noisy: Tensor, target: Tensor, level: Tensor) -> Self:
        """From complex spectra; divided by the square of a level [batch, 1]."""
        scale = level.square().reciprocal()[..., None]
        p, q = (s.real.square() + s.imag.square() for s in (noisy, target))
        r = noisy.real * target.real + noisy.imag * target.imag
        return cls(p * scale, q * scale, r * scale)

    @torch.no_grad()
    def masked(self, mask: Tensor) -> "Images":
        """The same mixtures, with what a mask makes of them as the target: a teacher's answer."""
        half = mask * self.noisy
        return Images(self.noisy, mask * half, half)

    def si_sdr(self, mask: Tensor) -> Tensor:
        """[batch] in dB."""
        stored = torch.full((mask.shape[1], 1), 2.0, device=mask.device)
        stored[0] = stored[-1] = 1.0
        weighted = mask * stored
        amount = (weighted * self.both).sum((1, 2))
        energy = (weighted * mask * self.noisy).sum((1, 2))
        wanted = amount.square() / ((self.target * stored).sum((1, 2)) + SMALL)
        return 10 * torch.log10(wanted / ((energy - wanted).clamp_min(0) + SMALL) + SMALL)

    def distance(self, mask: Tensor) -> Tensor:
        """Mean squared distance of compressed spectra, half magnitude and half complex."""
        masked = mask.square() * self.noisy
        p, (q_mag, q_gain) = masked + FLOOR, self._target_powers()
        p_mag = p ** (POWER / 2)
        p_gain = p_mag * p.rsqrt()
        magnitude = (p_mag - q_mag).square().mean()
        cross = mask * self.both * p_gain * q_gain
        complex_part = masked * p_gain.square() + self.target * q_gain.square() - 2 * cross
        return 0.5 * magnitude + 0.5 * complex_part.mean()

    @torch.no_grad()
    def _target_powers(self) -> tuple[Tensor, Tensor]:
        q = self.target + FLOOR
        magnitude = q ** (POWER / 2)
        return magnitude, magnitude * q.rsqrt()
