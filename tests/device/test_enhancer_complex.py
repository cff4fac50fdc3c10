"""The streaming enhancer with complex features and masks: phases are turned and kept."""

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from device import bundle
from device.enhancer import StreamEnhancer
from device.manifest import RingSpec, SpectrumInput, StateSpec
from tests import bundles
from tests.device.test_enhancer import HOP, N_FFT, noise, slow


class TurnBy(nn.Module):
    """A complex mask of one magnitude and phase for all bins; no use of its state."""

    def __init__(self, real: float, imaginary: float) -> None:
        super().__init__()
        self.real, self.imaginary = real, imaginary

    def forward(self, frame: Tensor, delayed: Tensor) -> tuple[Tensor, Tensor]:
        zeros = 0 * (frame + delayed)
        first, second = zeros.chunk(2, -1)
        return nn.functional.pad(first + self.real, (0, bundles.BINS)) + nn.functional.pad(
            second + self.imaginary, (bundles.BINS, 0)
        ), frame + 0


class OwnFeature(nn.Module):
    """The mask is the feature of the present frame."""

    def forward(self, frame: Tensor, delayed: Tensor) -> tuple[Tensor, Tensor]:
        return frame + 0 * delayed, frame + 0


@pytest.mark.parametrize(
    ("real", "imaginary", "gain"),
    [(0.6, 0.0, 0.6), (-0.8, 0.0, -0.8), (0.0, 0.0, 0.1), (-0.05, 0.0, -0.1)],
)
def test_a_complex_mask_keeps_its_phase_at_the_limit(
    tmp_path: Path, real: float, imaginary: float, gain: float
) -> None:
    bins = 2 * bundles.BINS
    folder = make_complex(tmp_path / "turn", TurnBy(real, imaginary))
    assert bundle.read(folder).manifest.outputs[0].shape == (1, bins)
    samples = noise(3000)
    result = StreamEnhancer(bundle.load(folder), max_attenuation=20).enhance(samples)
    np.testing.assert_allclose(result, gain * samples, atol=1e-6)


def test_complex_features_and_masks_follow_the_formulas(tmp_path: Path) -> None:
    samples = noise(3000)
    samples[1000:2000] = 0  # silent frames have no phase
    expected = slow(samples, lambda S: S[-1] * np.maximum(np.abs(S[-1]), 1e-12) ** (0.3 - 1))
    model = bundle.load(make_complex(tmp_path / "own", OwnFeature()))
    np.testing.assert_allclose(StreamEnhancer(model).enhance(samples), expected, atol=1e-5)


def make_complex(folder: Path, net: nn.Module) -> Path:
    """A bundle with complex features and a complex mask."""
    bins = 2 * bundles.BINS
    return bundles._write(
        folder,
        net,
        "enhance",
        [{"frame": noise(bins)[None], "delayed": noise(bins)[None]}],
        ("mask", "newest"),
        SpectrumInput(
            rate=16_000,
            n_fft=N_FFT,
            hop=HOP,
            feature="compressed_complex",
            exponent=0.3,
            mask="complex",
        ),
        states=(
            StateSpec(input="delayed", output="newest", rings=(RingSpec(width=bins, delays=(1,)),)),
        ),
    )
