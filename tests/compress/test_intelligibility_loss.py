"""The intelligibility loss against the package that scores STOI."""

import numpy as np
import pytest
import torch
from pystoi import stoi

from compress import intelligibility_loss
from compress.intelligibility_loss import Intelligibility
from tests.compress.voices import END, RATE, power, voiced


def test_bands_are_third_octaves() -> None:
    """From 150 Hz to 3.8 kHz and on to the band's edge, without a bin left out or heard twice."""
    bands = intelligibility_loss.band_matrix()
    heard = bands.sum(0)
    assert bands.shape == (15, 257)
    assert torch.equal(heard.nonzero()[:, 0], torch.arange(4, 137))
    assert heard.max() == 1
    octave = [b.nonzero()[:, 0].float().mean().item() for b in bands]
    for low, high in zip(octave[6:], octave[9:], strict=False):
        assert high / low == pytest.approx(2, rel=0.05)


def test_equal_sounds_are_understood_at_any_level() -> None:
    loss, clean = Intelligibility(), power(voiced(0))
    assert loss(clean, clean).item() < 1e-3
    assert loss(100 * clean, clean).item() < 1e-3
    assert loss(torch.rand_like(clean), clean).item() > 0.25


def test_scores_follow_those_of_the_package() -> None:
    """After masks of all strengths, on noise of all levels."""
    torch.manual_seed(0)
    loss, ours, theirs = Intelligibility(), [], []
    for seed in range(6):
        clean = voiced(seed)
        for snr in (-5.0, 5.0, 15.0):
            noise = torch.randn_like(clean) * clean.square().mean().sqrt() * 10 ** (-snr / 20)
            noisy, wanted = END.analyse(clean + noise), END.analyse(clean)
            ideal = (wanted.abs() / noisy.abs().clamp_min(1e-6)).clamp_max(1)
            for mask in (torch.ones_like(ideal), 0.8 + 0.2 * ideal, 0.4 + 0.6 * ideal):
                sound = END.synthesise(noisy * mask, clean.shape[1])
                spectrum = (noisy * mask).abs().square()
                ours.append(1 - loss(spectrum, wanted.abs().square()).item())
                theirs.append(stoi(clean[0].numpy(), sound[0].numpy(), RATE))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95
    assert np.abs(np.subtract(ours, theirs)).max() < 0.1


def test_pauses_do_not_count() -> None:
    """Noise where nobody has spoken for 384 ms leaves the words as clear as they were."""
    clean = voiced(1)
    clean[:, RATE:] *= 1e-4
    noisy = power(clean)
    noisy[..., 70:] += 1e-3 * noisy.mean()
    assert Intelligibility()(noisy, power(clean)).item() < 0.05
