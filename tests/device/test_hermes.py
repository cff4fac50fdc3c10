"""Hermes frames: read by the standard library's own WAV reader."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from device.hermes import Framer
from device.samples import from_pcm
from tests.microphones import samples_of


def test_a_frame_is_one_complete_wav_of_20_ms() -> None:
    pcm = np.arange(-160, 160, dtype=np.int16) * 200
    (frame,) = Framer().process(from_pcm(pcm))
    assert len(frame) == 684
    np.testing.assert_array_equal(samples_of(frame), pcm)


@given(st.lists(st.integers(0, 900), max_size=8))
def test_a_stream_comes_out_in_order_and_whole(sizes: list[int]) -> None:
    pcm = (np.arange(sum(sizes)) * 7919 % 65536 - 32768).astype(np.int16)
    framer = Framer()
    frames: list[bytes] = []
    for piece in np.split(from_pcm(pcm), np.cumsum(sizes)[:-1]):
        frames += framer.process(piece)
        assert framer.waiting < 320
    frames += framer.flush()
    result = np.concatenate([np.zeros(0, np.int16), *map(samples_of, frames)])
    assert len(result) == -(-len(pcm) // 320) * 320
    np.testing.assert_array_equal(result[: len(pcm)], pcm)
    assert not result[len(pcm) :].any()
    assert framer.flush() == []
