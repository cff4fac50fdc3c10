"""The ring between callback and worker, against a plain list."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from device.sample_ring import SampleRing


@given(
    size=st.integers(1, 40),
    channels=st.integers(1, 3),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 25)), max_size=60),
)
def test_frames_come_out_in_order_or_are_dropped_whole(
    size: int, channels: int, steps: list[tuple[bool, int]]
) -> None:
    ring = SampleRing(size, channels)
    waiting: list[int] = []
    number = dropped = written = 0
    for write, count in steps:
        if write:
            frames = list(range(number, number + count))
            number += count
            block = np.repeat(np.array(frames, np.int16)[:, None], channels, 1)
            ring.write(block)
            if len(waiting) + count <= size:
                waiting += frames
                written += count
            else:
                dropped += 1
        else:
            block = ring.read(count)
            assert block.shape == (min(count, len(waiting)), channels)
            assert (block == np.array(waiting[:count], np.int16).reshape(-1, 1)).all()
            del waiting[:count]
        assert (ring.available, ring.dropped, ring.written) == (len(waiting), dropped, written)


def test_a_block_that_was_read_is_not_overwritten() -> None:
    ring = SampleRing(4, 1)
    ring.write(np.full((4, 1), 1, np.int16))
    block = ring.read(4)
    ring.write(np.full((4, 1), 2, np.int16))
    assert (block == 1).all()
