"""Enhancers behind quiet and loud beginnings: what is played, what is scored, what is written."""

import csv
from pathlib import Path

import numpy as np
import pytest

from compress.speech import Pair
from compress.speech_metrics import si_sdr
from device.errors import BadInputError
from scripts import level_steps
from scripts.speech_bench import Split
from scripts.speech_systems import RATE, unprocessed
from tests.scripts import voices
from tests.scripts.voices import noise

ZOO = Path(__file__).parents[2] / "models" / "zoo"


def test_beginnings_are_as_loud_as_they_are_called() -> None:
    for seconds, dbfs in ((3, -60.0), (2, -20.0)):
        sound = level_steps.beginning(seconds, dbfs, 0)
        assert len(sound) == seconds * RATE
        assert 20 * np.log10(np.sqrt(np.mean(sound.astype(float) ** 2))) == pytest.approx(dbfs)
    assert np.abs(level_steps.beginning(2, -6, 0)).max() <= 1
    assert not level_steps.beginning(3, -np.inf, 0).any()
    assert not len(level_steps.beginning(0, -60, 0))


def test_what_does_nothing_does_the_same_behind_every_beginning() -> None:
    clean = noise(1, 0)
    pair = Pair("a", clean + noise(1, 1), clean)
    rows = level_steps.measure([unprocessed()], [pair])
    assert [row["beginning"] for row in rows] == [*level_steps.BEGINNINGS, level_steps.PAUSED]
    score = round(si_sdr(pair.noisy, clean), 2)
    *begun, last = rows
    assert all(row[f"playing {i}"] == score for row in begun for i in (1, 2, 3))
    spoken = 1 / (1 + level_steps.PAUSE)  # of a playing and its pause
    faint = 10 * np.log10(np.mean(clean**2) * spoken) - level_steps.FAINT
    assert [last[f"playing {i}"] for i in (1, 2, 3)] == pytest.approx([faint] * 3, abs=1)


def test_the_table_is_also_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, recipe = voices.write(tmp_path), str(tmp_path / "tiny.toml")
    out = tmp_path / "steps.csv"
    level_steps.main([ZOO / "enhancer-tcn"], data, out, recipe, peer=["none"])
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == ["unprocessed"] * 6 + ["enhancer-tcn"] * 6
    assert all(np.isfinite(float(row["playing 3"])) for row in rows)
    assert "3 recordings (validation)" in capsys.readouterr().out
    with pytest.raises(BadInputError, match="no recordings to score in pairs"):
        level_steps.main([ZOO / "enhancer-tcn"], data, out, recipe, Split.PAIRS, ["none"])
