"""The perceptual loss against the package that scores PESQ."""

import numpy as np
import pytest
import torch

from compress import perceptual_loss
from compress.perceptual_loss import Perceptual
from compress.speech_metrics import pesq_wb
from tests.compress.voices import END, RATE, power, voiced


def test_bands_are_those_of_the_standard() -> None:
    """49, single bins below 250 Hz as in P.862.2, each bin in one band."""
    edges = perceptual_loss.edges()
    assert len(edges) - 1 == 49
    assert edges[:9] == list(range(9))
    assert edges[-1] == 256
    assert (np.diff(edges) > 0).all()
    assert (Perceptual().bands[:, :-1].count_nonzero(0)[1:] == 1).all()


def test_equal_sounds_are_perfect_at_any_level() -> None:
    loss = Perceptual()
    clean = power(voiced(0))
    assert loss(clean, clean).item() < 2e-3
    assert loss(1e-4 * clean, clean).item() < 2e-3
    assert perceptual_loss.score(loss(clean, clean)).item() == pytest.approx(4.64, abs=0.01)


def test_scores_follow_those_of_the_package() -> None:
    """After masks of all strengths, on noise of all levels."""
    torch.manual_seed(0)
    loss, ours, theirs = Perceptual(), [], []
    for seed in range(6):
        clean = voiced(seed)
        for snr in (0.0, 10.0, 20.0):
            noise = torch.randn_like(clean) * clean.square().mean().sqrt() * 10 ** (-snr / 20)
            noisy, wanted = END.analyse(clean + noise), END.analyse(clean)
            ideal = (wanted.abs() / noisy.abs().clamp_min(1e-6)).clamp_max(1)
            for mask in (torch.ones_like(ideal), 0.8 + 0.2 * ideal, 0.6 + 0.4 * ideal):
                sound = END.synthesise(noisy * mask, clean.shape[1])
                spectrum = (noisy * mask).abs().square()
                ours.append(perceptual_loss.score(loss(spectrum, wanted.abs().square())).item())
                theirs.append(pesq_wb(sound[0].numpy(), clean[0].numpy(), RATE))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95


def test_added_noise_counts_more_than_missing_speech() -> None:
    loss = Perceptual()
    clean = power(voiced(1))
    more, less = clean.clone(), clean.clone()
    more[:, 60:90] += clean.mean()
    less[:, 15:45] *= 0.01
    assert loss(more, clean) > loss(less, clean)
