"""The forms of weight permutation side by side, on few small pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from device.errors import BadInputError
from scripts import permutation_bench

COUNT = 40


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One shard of JPEGs in which the brightness tells the label."""
    random = np.random.default_rng(0)
    labels = random.integers(10, size=COUNT)
    jpegs = [
        cv2.imencode(".jpg", random.integers(20 * one, 20 * one + 60, (32, 32, 3), np.uint8))[1]
        for one in labels.tolist()
    ]
    (tmp_path / "cifar10").mkdir()
    np.savez(
        tmp_path / "cifar10" / "cifar10_train_0.npz",
        blob=np.concatenate(jpegs),
        offsets=np.cumsum([0, *map(len, jpegs)]),
        labels=labels,
    )
    return tmp_path


def test_shards_are_pictures_and_labels(data: Path) -> None:
    pixels, labels = permutation_bench.images(data)
    assert pixels.shape == (COUNT, 3, 32, 32) and labels.shape == (COUNT,)
    bright = pixels.mean((1, 2, 3))
    assert float(np.corrcoef(bright, labels)[0, 1]) > 0.99


def test_every_figure_is_in_the_table_and_the_loop_agrees(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permutation_bench, "TRAINED_ON", 32)
    monkeypatch.setattr(permutation_bench, "BATCH", 16)
    monkeypatch.setattr(permutation_bench, "TURNS", 1)
    permutation_bench.main(data, scored=4, shuffles=16, epochs=1, seeds=1)
    out = capsys.readouterr().out
    assert out.count("| figure | mean | each seed |") == 3
    values = {
        row.split("|")[1].strip(): float(row.split("|")[2])
        for row in out.splitlines()
        if row.startswith("| ") and not row.startswith("| figure")
    }
    assert {f"CPU ms: {form}" for form in permutation_bench.FORMS} < set(values)
    assert values["largest relative difference of literal and all at once"] < 1e-3
    assert values["CPU time: literal / all at once"] > 2  # one pass for each of 64 filters
    assert -1 <= values["rank correlation: one shuffle, another"] <= 1
    assert "4 images scored, 16 shuffles" in out


def test_no_shards_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no cifar10/cifar10_train_\*\.npz in it"):
        permutation_bench.images(tmp_path)
