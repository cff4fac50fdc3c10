"""A few seconds of made-up speech and noise, and the smallest enhancer that learns from them."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000
SMALL = {
    "data": {
        "clean": ["speech"],
        "noise": ["noise"],
        "pairs": ["pairs"],
        "validation_share": 0.3,
        "test_share": 0.3,
        "description": "hiss in rumble",
        "licence": "none",
    },
    "model": {
        "residual": 16,
        "hidden": 24,
        "dilations": [1, 2],
        "feature": "compressed_magnitude",
        "mask": "magnitude",
    },
    "mixing": {"seconds": 0.5, "room_share": 0, "band_share": 0, "colour_db": 0},
    "batches": {"size": 4, "steps": 3},
    "score": {"seconds": 2.0, "validation": 3, "test": 2},
}


def make_folder(folder: Path) -> Path:
    """Four "speakers" (bursts of hiss above 2 kHz) and four noises (rumble below 1 kHz)."""
    random = np.random.default_rng(0)
    for part in ("speech", "noise", "pairs/clean", "pairs/noisy"):
        (folder / part).mkdir(parents=True)

    def band(low: float, high: float) -> NDArray[np.float64]:
        spectrum = np.fft.rfft(random.standard_normal(3 * RATE))
        frequency = np.fft.rfftfreq(3 * RATE, 1 / RATE)
        return np.fft.irfft(spectrum * (low <= frequency) * (frequency < high))

    for index in range(4):
        voice = 0.1 * band(2000, 8000) * np.repeat(random.random(30) > 0.4, RATE // 10)
        rumble = 0.1 * band(50, 1000)
        soundfile.write(folder / f"speech/{index}-1.flac", voice, RATE)
        soundfile.write(folder / f"noise/{index}.flac", rumble, RATE)
    soundfile.write(folder / "pairs/clean/a.flac", voice, RATE)
    soundfile.write(folder / "pairs/noisy/a.flac", voice + rumble, RATE)
    return folder
