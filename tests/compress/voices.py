"""Made-up speech and its power spectra, for the parts of the loss that imitate listening."""

import numpy as np
import torch

from compress import spectra
from device.manifest import SpectrumInput

FRAMES = {"feature": "compressed_magnitude", "exponent": 0.3, "mask": "magnitude"}
END = spectra.FrontEnd(SpectrumInput(rate=16_000, n_fft=512, hop=256, **FRAMES))
RATE = 16_000


def voiced(seed: int) -> torch.Tensor:
    """Two seconds of syllables: harmonics of a gliding voice under two moving formants."""
    random = np.random.default_rng(seed)
    time = np.arange(2 * RATE) / RATE
    pitch = 120 + 60 * random.random() + 20 * np.sin(2 * np.pi * (1 + random.random()) * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    low = 500 + 200 * np.sin(2 * np.pi * 2.3 * time + 6 * random.random())
    high = 1500 + 500 * np.sin(2 * np.pi * 1.7 * time + 6 * random.random())
    sound = np.zeros(len(time))
    for k in range(1, 40):
        gain = np.exp(-(((k * pitch - low) / 200) ** 2)) + np.exp(
            -(((k * pitch - high) / 300) ** 2)
        )
        sound += (gain + 0.01) * np.sin(k * phase)
    sound *= np.clip(np.sin(2 * np.pi * 3 * time + 6 * random.random()) + 0.3, 0, None)
    return torch.tensor(0.1 * sound / np.abs(sound).max(), dtype=torch.float32)[None]


def power(sound: torch.Tensor) -> torch.Tensor:
    return END.analyse(sound).abs().square()
