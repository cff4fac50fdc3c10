"""A file as a microphone: every frame, in its own time, then the end."""

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from device.errors import BadInputError
from device.playback import Playback


def test_every_frame_once_and_not_before_its_time(tmp_path: Path) -> None:
    pcm = np.arange(2 * 5000, dtype=np.int16).reshape(-1, 2)
    soundfile.write(tmp_path / "in.wav", pcm, 16_000)
    source = Playback(tmp_path / "in.wav", block=320)
    assert (source.rate, source.channels, source.backlog, source.ended) == (16_000, 2, 0, False)
    begin = time.monotonic()
    blocks = []
    while not source.ended:
        block = source.read(1.0)
        if block is not None:
            blocks.append(block.samples)
    assert time.monotonic() - begin >= 5000 / 16_000
    np.testing.assert_array_equal(np.concatenate(blocks) * 32768, pcm)
    assert [len(b) for b in blocks] == [320] * 15 + [200]
    assert source.backlog == 0


def test_a_reader_that_waits_finds_a_backlog_no_longer_than_the_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(1600), 16_000)
    source = Playback(tmp_path / "in.wav")
    assert source.read(0) is None  # nothing is due yet, the clock starts
    time.sleep(0.2)
    assert source.backlog == 1600


def test_a_file_without_sound_ends_at_once(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(0), 16_000)
    source = Playback(tmp_path / "in.wav")
    assert source.read(1) is None
    assert source.ended


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such sound file"):
        Playback(tmp_path / "none.wav")
