"""Real inputs for networks of any size: photos that the shipped bundles were tried with, speech."""

from pathlib import Path

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor

from compress.spectra import FrontEnd
from device.bundle import GOLDEN
from device.manifest import SpectrumInput

BIRDS = Path(__file__).parents[2] / "models" / "zoo" / "birds-fast"


def photos(size: int) -> Tensor:
    """Two photos of birds [2, 3, size, size]."""
    with np.load(BIRDS / GOLDEN) as golden:
        pixels = torch.from_numpy(golden["in.image"])[:2, 0]
    return F.interpolate(pixels.movedim(-1, 1), (size, size), mode="area")


def spectrogram(path: Path, bins: int, frames: int) -> Tensor:
    """Compressed magnitudes [1, bins, frames] of a recording's loudest part."""
    sound, rate = soundfile.read(path, dtype="float32")
    size = 2 * (bins - 1)
    table = {"feature": "compressed_magnitude", "exponent": 0.3, "mask": "magnitude"}
    config = SpectrumInput.model_validate({"rate": rate, "n_fft": size, "hop": size // 2, **table})
    end = FrontEnd(config)
    first = max(0, int(np.abs(sound).argmax()) - frames * size // 4)
    excerpt = torch.from_numpy(sound[first : first + frames * size // 2])
    return end.feature(end.analyse(excerpt[None]))[..., :frames]
