"""Real inputs for networks of any size: photos and speech."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from compress.defaults import default_root
from compress.spectra import FrontEnd
from device import images
from device.manifest import ImageInput, SpectrumInput


def photos(size: int) -> Tensor:
    """Two photos of the default data, of different birds [2, 3, size, size]."""
    known = sorted((default_root() / "birds" / "test").glob("*/*"))
    if not known:
        pytest.skip("no default data: make data")
    spec = ImageInput(height=size, width=size, mean=(127,) * 3, std=(128,) * 3)
    pixels = [images.preprocess(images.read(path), spec) for path in (known[0], known[-1])]
    return torch.from_numpy(np.concatenate(pixels)).movedim(-1, 1)


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
