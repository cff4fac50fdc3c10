"""Scores of recordings that the packages themselves do not take."""

import numpy as np
import pesq
import pytest

from compress.speech import Samples
from compress.speech_metrics import PESQ_LONGEST, WORST_PESQ, pesq_wb
from tests.compress.voices import RATE, voiced


def speech(seconds: int) -> Samples:
    return np.resize(voiced(1)[0].numpy(), seconds * RATE)


def test_pesq_of_a_long_recording_is_the_mean_of_its_stretches() -> None:
    """45 s are three of 15 s; one of them has no utterance."""
    clean = speech(45)
    part = len(clean) // 3
    clean[2 * part :] = 0
    random = np.random.default_rng(0)
    levels = np.repeat([0.001, 0.1, 0.1], part)
    noisy = (clean + levels * random.standard_normal(len(clean))).astype(np.float32)
    stretches = [
        pesq.pesq(RATE, clean[i * part :][:part], noisy[i * part :][:part], "wb") for i in (0, 1)
    ]
    assert stretches[0] > stretches[1] + 0.3
    assert pesq_wb(noisy, clean, RATE) == pytest.approx(np.mean(stretches))


def test_a_recording_of_ordinary_length_is_scored_whole() -> None:
    clean = speech(PESQ_LONGEST)
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    assert pesq_wb(clean + noise, clean, RATE) == pesq.pesq(RATE, clean, clean + noise, "wb")
    assert pesq_wb(np.zeros_like(clean), clean, RATE) == WORST_PESQ
    assert np.isnan(pesq_wb(noise, np.zeros_like(clean), RATE))
    assert np.isnan(pesq_wb(noise[:0], clean[:0], RATE))
