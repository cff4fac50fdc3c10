"""The perceptual loss against the package that scores PESQ."""

from pathlib import Path

import numpy as np
import pytest
import torch

from compress import perceptual_loss, spectra
from compress.enhancer_loss import EnhancerLoss, Loss
from compress.perceptual_loss import Perceptual
from compress.speech_metrics import pesq_wb
from device.errors import BadInputError
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


def test_gradients_are_finite_in_silence() -> None:
    clean = voiced(2)
    clean[:, : RATE // 2] = 0
    for noisy in (torch.zeros_like(clean), clean):
        mask = torch.full((1, 257, 126), 0.5, requires_grad=True)
        Perceptual()(mask.square() * power(noisy), power(clean)).sum().backward()
        assert mask.grad is not None
        assert mask.grad.isfinite().all()


def test_it_is_part_of_the_loss_of_sounds_and_of_frames() -> None:
    class Half(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full_like(x, 0.5)

    torch.manual_seed(1)
    clean = torch.cat((voiced(3), torch.zeros(1, 2 * RATE)))  # one example has no speech
    noisy = clean + 0.01 * torch.randn_like(clean)
    wanted = Perceptual()(power(noisy[:1]), power(clean[:1])).item()
    for target in ("sound", "frames"):
        with_it, without = (
            EnhancerLoss(Loss(target=target, perceptual=w), END)(Half(), noisy, clean, None)
            for w in (3.0, 0.0)
        )
        assert (with_it - without).item() == pytest.approx(3 * wanted, rel=1e-3)


def test_it_needs_frames_like_those_of_the_standard(tmp_path: Path) -> None:
    other = spectra.FrontEnd(SpectrumInput(rate=16_000, n_fft=256, hop=128, **FRAMES))
    with pytest.raises(BadInputError, match="256 samples and a hop of 128"):
        EnhancerLoss(Loss(target="frames", perceptual=1.0), other)
    with pytest.raises(ValueError, match=r"needs loss\.target"):
        Loss(target="cirm", perceptual=1.0)
