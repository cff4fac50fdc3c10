"""Learn an enhancer's sound: the spectrum the teacher's mask, or its waveform, leaves.

    Loss = task's loss + γ·distance( Y_S, Y_T )     compress/spectra.py: compressed spectra

Y_S  the student's masked spectrum     Y_T  the teacher's: mask times mixture where the teacher is
a mask network, else the spectrum of the sound it makes. Sounds of foreign models come at any
level, so one is brought to the level at which it best explains the mixture:

    y ← y·⟨x, y⟩ / ⟨y, y⟩          x  mixture, y  the teacher's sound, one example
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

SILENT = 1e-9  # energy below which a sound has no level


def at_level(sound: Tensor, mixture: Tensor) -> Tensor:
    """Sound [example, time] at the level that fits the mixture best."""
    energy = sound.square().sum(1, keepdim=True)
    return sound * (sound * mixture).sum(1, keepdim=True) / energy.clamp_min(SILENT)


def spectrum(
    teacher: nn.Module,
    mixture: Tensor,
    masked: Callable[[nn.Module], Tensor],
    analyse: Callable[[Tensor], Tensor],
) -> Tensor:
    """Y_T of a batch; `masked` asks a mask network, `analyse` is the STFT."""
    with torch.no_grad():
        if not getattr(teacher, "waveform", False):
            return masked(teacher)
        return analyse(at_level(teacher(mixture), mixture))
