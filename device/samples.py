"""Samples as numbers: full scale is 1 as float32, 32768 as 16-bit integers."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Pcm = NDArray[np.int16]

FULL_SCALE = 32768
LOUDEST = 1e6  # beyond this a sample is broken, not loud, even in a file that is not normalised
SILENCE = -120.0  # dBFS, the least that is reported


def without_broken(samples: Array) -> tuple[Array, int]:
    """NaN, infinity and anything beyond LOUDEST as silence, and how many samples that were."""
    good = np.abs(samples) <= LOUDEST  # False for NaN, too
    bad = samples.size - int(np.count_nonzero(good))
    return (np.where(good, samples, np.float32(0)) if bad else samples), bad


def from_pcm(pcm: Pcm) -> Array:
    """16-bit integers → −1…1."""
    return pcm.astype(np.float32) * np.float32(1 / FULL_SCALE)


def to_pcm(samples: Array) -> Pcm:
    """−1…1 → 16-bit integers: rounded, clipped at full scale."""
    scaled = np.rint(samples * np.float32(FULL_SCALE))
    pcm: Pcm = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return pcm


def dbfs(energy: float, count: int) -> float:
    """RMS level of `count` samples whose squares add up to `energy`; a full-scale square is 0."""
    if energy <= 0 or not count:
        return SILENCE
    return max(SILENCE, float(10 * np.log10(energy / count)))


def energy(samples: Array) -> float:
    """Sum of squares."""
    wide = samples.astype(np.float64).reshape(-1)
    return float(wide @ wide)
