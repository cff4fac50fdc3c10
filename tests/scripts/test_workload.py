"""The input that benchmarks time."""

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from compress import busy
from device import images
from device.classifier import Scores
from device.errors import BadInputError
from scripts import workload
from tests.scenes import BLUE, RED


@pytest.mark.parametrize("count", [1, 2, 49, 50, 51, 75, 99, 100, 101, 149, 5000])
def test_pictures_are_taken_evenly(count: int) -> None:
    chosen = workload.spread(range(count), 50)
    assert len(chosen) == min(count, 50)
    edges = [*chosen, count]
    assert edges[0] == 0
    gaps = np.diff(edges)
    assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1


def test_the_last_classes_of_a_folder_are_in(classifier: Path, tmp_path: Path) -> None:
    """75 pictures, the last 20 of them blue: whoever takes the first 50 sees none of these."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(75):
        picture = np.full((32, 32, 3), BLUE if number >= 55 else RED, np.uint8)
        (folder / f"{number:02}.jpg").write_bytes(images.jpeg(picture))
    work = workload.prepare(classifier, folder, threads=1)
    results = [work.step(unit) for unit in range(work.units)]
    labels = [scores.top(1)[0].label for scores in results if isinstance(scores, Scores)]
    assert (labels.count("red"), labels.count("blue")) == (37, 13)


def test_hops_in_which_no_model_runs_are_not_timed(enhancer: Path, tmp_path: Path) -> None:
    path, sound = tmp_path / "s.wav", np.zeros(16_000)
    sound[4_000:8_000] = 0.1
    soundfile.write(path, sound, 16_000)
    assert workload.prepare(enhancer, path, threads=1).units == 17  # of 62 hops of 256
    soundfile.write(path, np.zeros(16_000), 16_000)
    with pytest.raises(BadInputError, match=r"s\.wav: digital silence"):
        workload.prepare(enhancer, path, threads=1)


def test_time_that_others_had_is_told() -> None:
    attention = busy.Attention()
    time.sleep(0.2)
    assert attention.others() > 0.5
    assert busy.warning(0.04) is None
    assert "for 34 % of the time" in str(busy.warning(0.34))
