"""The front end in torch is the device's; losses and scores have the values computed by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from torch import Tensor

from compress import speech_metrics
from compress.spectra import (
    FLOOR,
    FrontEnd,
    cirm_distance,
    compressed_distance,
    ideal_mask,
    si_sdr,
)
from compress.speech import Pair
from device import bundle
from device.enhancer import StreamEnhancer
from device.manifest import SpectrumInput
from models.fullsubnet import FullSubNet
from models.fullsubnet_fast import FastFullSubNet
from models.masks import MaskNet
from models.tcn import TCN
from models.tcn_bands import BandTCN
from tests import bundles
from tests.compress.voices import voiced

RATE = 16_000


def front_end(feature: str = "compressed_magnitude", mask: str = "magnitude") -> FrontEnd:
    config = {"rate": RATE, "n_fft": 512, "hop": 256, "exponent": 0.5}
    return FrontEnd(SpectrumInput.model_validate(config | {"feature": feature, "mask": mask}))


def sound(samples: int = 5000) -> Tensor:
    return 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "net",
    [
        FullSubNet(257, "magnitude", full=(8,), sub=(8,)),
        FastFullSubNet(257, "magnitude", encoder=(8,), sub=(8,), decoder=(8,), normed=True),
        TCN(residual=8, hidden=16, dilations=(1, 2)),
        BandTCN(),
    ],
    ids=lambda net: type(net).__name__,
)
def test_front_end_and_networks_compute_where_the_sound_is(net: MaskNet) -> None:
    """The meta device refuses to mix with another, as an accelerator does."""
    end, x = front_end(), sound().to("meta")
    spectrum = end.analyse(x)
    masked = end.masked(spectrum, net.to("meta")(end.feature(spectrum)))
    assert masked.device.type == "meta" and masked.shape == spectrum.shape


def test_a_mask_of_one_gives_the_sound_back() -> None:
    for mask in ("magnitude", "complex"):
        end, x = front_end(mask=mask), sound()
        spectrum = end.analyse(x)
        ones = torch.ones(1, 257 if mask == "magnitude" else 514, spectrum.shape[2])
        if mask == "complex":
            ones[:, 257:] = 0
        assert (end.synthesise(end.masked(spectrum, ones), x.shape[1]) - x).abs().max() < 1e-5


def test_the_ideal_mask_makes_the_clean_sound() -> None:
    end, x = front_end(mask="complex"), sound()
    clean = 0.5 * x.roll(3, 1)
    clean[:, 2000:3000] = 0
    mask = ideal_mask(end.analyse(x), end.analyse(clean))
    made = end.synthesise(end.masked(end.analyse(x), mask), x.shape[1])
    assert (made - clean).abs().max() < 1e-4
    assert ideal_mask(end.analyse(0 * x), end.analyse(clean)).abs().max() == 0
    assert cirm_distance(mask, mask) == 0
    # 10·(1 − e^−.1)/(1 + e^−.1) = 0.4996 where one mask is 1 and the other 0
    assert cirm_distance(torch.ones(3), torch.zeros(3)) == pytest.approx(0.49958**2, abs=1e-5)


def test_a_complex_mask_turns_the_phase() -> None:
    end = front_end(mask="complex")
    spectrum = end.analyse(sound())
    turn = torch.cat((torch.zeros(1, 257, 1), torch.ones(1, 257, 1)), 1)  # i
    assert torch.allclose(end.masked(spectrum, turn), 1j * spectrum)


def test_complex_feature_keeps_the_phase_and_compresses_the_magnitude() -> None:
    end = front_end("compressed_complex")
    spectrum = torch.tensor([3 + 4j, 0, -0.25]).reshape(1, 3, 1)
    feature = end.feature(spectrum)[0, :, 0]
    root = math.sqrt(5) / 5
    expected = [3 * root, 0, -0.5, 4 * root, 0, 0]
    assert torch.allclose(feature, torch.tensor(expected), atol=1e-6)


def test_offline_equals_the_device_frame_by_frame(tmp_path: Path) -> None:
    """A model with memory, mask = 0.4 + 0.3 · |S|^0.5 two frames ago, in both front ends."""
    model = bundle.load(bundles.make_enhancer(tmp_path / "echo", gain=0.4, echo=0.3))
    end, x = front_end(), sound()
    spectrum = end.analyse(x)
    feature = end.feature(spectrum)
    mask = 0.4 + 0.3 * torch.nn.functional.pad(feature, (2, 0))[..., :-2]
    offline = end.synthesise(end.masked(spectrum, mask), x.shape[1])[0].numpy()
    streamed = StreamEnhancer(model).enhance(x[0].numpy())
    assert np.abs(offline).max() > 0.05
    assert np.abs(streamed - offline).max() < 1e-5


def test_si_sdr_by_hand() -> None:
    target = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    noise = torch.tensor([[1.0, 1.0, -1.0, -1.0]])  # orthogonal, the same energy
    assert si_sdr(3 * (target + 0.1 * noise), target).item() == pytest.approx(20, abs=1e-3)
    assert si_sdr(target + 2 * noise, target).item() == pytest.approx(-6.0206, abs=1e-3)
    mine = speech_metrics.si_sdr((target + 0.1 * noise)[0].numpy(), target[0].numpy())
    assert mine == pytest.approx(20, abs=1e-3)


def test_compressed_distance_by_hand() -> None:
    loud, soft = torch.tensor([[[16 + 0j]]]), torch.tensor([[[1 + 0j]]])
    one, other = ((power + FLOOR) ** 0.15 for power in (256, 1))
    assert compressed_distance(loud, loud).item() == 0
    assert compressed_distance(loud, soft).item() == pytest.approx((one - other) ** 2, rel=1e-4)
    # the magnitude is right, the phase is opposite: only the complex half, (2·1)²
    assert compressed_distance(soft, -soft).item() == pytest.approx(0.5 * 4, rel=1e-4)


def test_losses_have_finite_gradients_in_silence() -> None:
    spectrum = torch.zeros(1, 257, 4, dtype=torch.complex64, requires_grad=True)
    compressed_distance(spectrum, torch.zeros_like(spectrum)).backward()
    assert spectrum.grad is not None
    assert torch.isfinite(spectrum.grad.abs()).all()
    quiet = torch.zeros(1, 100, requires_grad=True)
    si_sdr(quiet, torch.ones(1, 100)).sum().backward()
    assert quiet.grad is not None
    assert torch.isfinite(quiet.grad).all()


def test_scores_of_the_reference_itself_are_perfect() -> None:
    random = np.random.default_rng(0)
    bursts = np.repeat(random.random(40) > 0.4, RATE // 10)
    speech = (0.1 * bursts * random.standard_normal(len(bursts))).astype(np.float32)
    pair = Pair("a", speech, speech)
    scores = speech_metrics.score([pair], lambda noisy: noisy, RATE, fast=False)
    assert scores["pesq_wb"] == pytest.approx(4.644, abs=0.001)
    assert scores["stoi"] == pytest.approx(1, abs=1e-6)
    assert scores["estoi"] == pytest.approx(1, abs=1e-6)
    worse = speech + 0.03 * random.standard_normal(len(speech)).astype(np.float32)
    scored = speech_metrics.score([Pair("b", worse, speech)], lambda noisy: noisy, RATE, fast=False)
    assert all(scored[name] < scores[name] for name in scores)


def test_silence_does_not_enter_the_means() -> None:
    silence = np.zeros(RATE, np.float32)
    assert math.isnan(speech_metrics.pesq_wb(silence, silence, RATE))
    assert math.isnan(speech_metrics.pesq_wb(silence[:100], silence[:100], RATE))
    assert math.isnan(speech_metrics.stoi(silence[:100], silence[:100], RATE, extended=False))
    hiss = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert math.isnan(speech_metrics.si_sdr(hiss, silence))
    pairs = [Pair("kept", hiss, hiss), Pair("silent", hiss, silence)]
    scores = speech_metrics.score(pairs, lambda noisy: noisy, RATE, fast=True)
    assert scores["si_sdr"] == speech_metrics.si_sdr(hiss, hiss)


def test_speech_that_was_made_silent_is_the_worst_and_does_enter_them() -> None:
    random = np.random.default_rng(0)
    bursts = np.repeat(random.random(40) > 0.4, RATE // 10)
    speech = (0.1 * bursts * random.standard_normal(len(bursts))).astype(np.float32)
    pairs = [Pair("kept", speech, speech), Pair("muted", np.zeros_like(speech), speech)]
    scores = speech_metrics.score(pairs, lambda noisy: noisy, RATE, fast=False)
    assert scores["pesq_wb"] == pytest.approx((4.644 + speech_metrics.WORST_PESQ) / 2, abs=0.001)
    assert scores["stoi"] < 0.6
    assert speech_metrics.si_sdr(np.zeros_like(speech), speech) == -80
    assert si_sdr(torch.zeros(1, 100), torch.ones(1, 100)).item() == pytest.approx(-80)


def test_a_measure_that_nobody_has_is_left_out_and_no_output_beats_silence() -> None:
    tone = 0.1 * np.sin(np.arange(RATE // 5) / 5).astype(np.float32)  # too short for PESQ and STOI
    scores = speech_metrics.score([Pair("short", tone, tone)], lambda x: x, RATE, fast=False)
    assert set(scores) == {"si_sdr"}
    pairs = [Pair("a", tone, tone), Pair("b", -tone, -tone)]
    broken = speech_metrics.score(
        pairs, lambda x: x if x[1] > 0 else np.full_like(x, np.nan), RATE, fast=True
    )
    whole = speech_metrics.si_sdr(tone, tone)
    assert broken["si_sdr"] == pytest.approx((whole + speech_metrics.WORST_SI_SDR) / 2)


@pytest.mark.parametrize("rate", [8000, 22_050, 48_000])
def test_pesq_hears_any_rate_at_its_own(rate: int) -> None:
    """What lies in a band that both rates have scores what it scores at 16 kHz."""
    clean, noisy = (sound[0].numpy() for sound in (voiced(0), voiced(0) + 0.01 * voiced(1)))
    at_16k = speech_metrics.pesq_wb(noisy, clean, RATE)
    assert 1.5 < at_16k < 4.5
    there = [soxr.resample(sound, RATE, rate) for sound in (noisy, clean)]
    assert speech_metrics.pesq_wb(*there, rate) == pytest.approx(at_16k, abs=0.1)
