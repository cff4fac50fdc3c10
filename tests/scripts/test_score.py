"""Scores of recordings that start at different moments."""

import json
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import soundfile

from device.errors import BadInputError
from scripts import score


def noise(seconds: float, seed: int) -> score.Samples:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(int(seconds * score.RATE)).astype(np.float32) * 0.1


@pytest.mark.parametrize("lag", [-900, -1, 0, 1, 5000])
def test_alignment_finds_the_lag(lag: int) -> None:
    reference = noise(2, 0)
    late = np.pad(reference, (lag, 0)) if lag >= 0 else reference[-lag:]
    aligned = score.align(late + 0.3 * noise(4, 1)[: len(late)], reference)
    start = max(0, -lag)
    difference = aligned[start : start + 20_000] - reference[start : start + 20_000]
    assert np.std(difference) == pytest.approx(0.03, rel=0.1)
    assert len(aligned) == len(reference)


def test_si_sdr_is_the_ratio_that_was_mixed() -> None:
    reference = noise(4, 2)
    assert score.score(reference + 0.1 * noise(4, 3), reference)["si_sdr"] == pytest.approx(
        20, abs=0.3
    )


def test_a_recording_of_the_other_polarity_scores_the_same_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean, late = noise(2, 4), np.pad(noise(2, 4) + 0.1 * noise(2, 5), (700, 0))
    assert score.score(-late, clean) == score.score(late, clean)
    names = {"clean": clean, "late": late, "turned": -late}
    for name, samples in names.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, score.RATE)
    score.main(*(tmp_path / f"{name}.wav" for name in names), as_json=True)
    printed = capsys.readouterr()
    assert printed.err == "enhanced: polarity is inverted, which no score minds\n"
    scores = json.loads(printed.out)
    assert scores["noisy"] == scores["enhanced"]


def test_what_is_not_sound_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.wav"
    path.write_text("not sound")
    with pytest.raises(BadInputError, match=r"text\.wav: not a sound file"):
        score.read(path)
    soundfile.write(path, noise(1, 0), 8000)
    with pytest.raises(BadInputError, match="16000 Hz"):
        score.read(path)


def test_samples_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path, samples = tmp_path / "nan.wav", noise(1, 0)
    samples[100] = np.nan
    soundfile.write(path, samples, score.RATE, subtype="FLOAT")
    with pytest.raises(BadInputError, match=r"nan\.wav: holds samples that are not finite"):
        score.read(path)


def test_a_score_without_a_value_is_null_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent, noisy = tmp_path / "silent.wav", tmp_path / "noisy.wav"
    soundfile.write(silent, np.zeros(score.RATE, np.float32), score.RATE)
    soundfile.write(noisy, noise(1, 0), score.RATE)
    score.main(silent, noisy, noisy, as_json=True)

    def refuse(word: str) -> NoReturn:
        raise AssertionError(f"{word} is no JSON")

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    nothing = dict.fromkeys(("si_sdr", "pesq_wb", "stoi", "estoi"))
    assert found == {"noisy": nothing, "enhanced": nothing}
