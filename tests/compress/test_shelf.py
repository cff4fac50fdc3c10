"""Sound that is too much for memory: on disk, the same samples, and gone with the process."""

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from compress import shelf, speech
from compress.speech import Recording
from device.errors import BadInputError

SAMPLES = 1000


def _recordings(count: int) -> Iterator[Recording]:
    for number in range(count):
        samples = np.random.default_rng(number).integers(-32768, 32768, SAMPLES, np.int16)
        yield Recording(f"{number}.flac", str(number), samples)


def test_what_does_not_fit_is_on_disk_and_the_same(tmp_path: Path) -> None:
    found = shelf.kept(_recordings(5), tmp_path, limit=2 * 2 * SAMPLES + 1)
    mapped = [isinstance(one.samples, np.memmap) for one in found]
    assert mapped == [False, False, True, True, True]
    assert list(tmp_path.iterdir()) == []  # the file has no name
    for one, other in zip(found, _recordings(5), strict=True):
        assert (one.name, one.group) == (other.name, other.group)
        assert np.array_equal(one.samples, other.samples)
        assert np.array_equal(one.part(990, 20), other.part(990, 20))
    assert speech.fingerprint(found) == speech.fingerprint(_recordings(5))


def test_what_fits_touches_no_disk(tmp_path: Path) -> None:
    found = shelf.kept(_recordings(3), tmp_path / "not" / "made")
    assert len(found) == 3 and not (tmp_path / "not").exists()


def test_an_empty_recording_may_lie_on_disk(tmp_path: Path) -> None:
    empty = Recording("empty.flac", "x", np.zeros(0, np.int16))
    found = shelf.kept([*_recordings(1), empty], tmp_path, limit=0)
    assert [len(one.samples) for one in found] == [SAMPLES, 0]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk's."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * SAMPLES, before[1]))
    try:
        with pytest.raises(BadInputError, match=r"no room for 1\.flac, after 0\.0 GB of sound"):
            shelf.kept(_recordings(3), tmp_path, limit=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
