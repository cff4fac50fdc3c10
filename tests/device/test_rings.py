"""Rings against the slow form: keep every vector ever pushed and look back in the list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.errors import BadInputError
from device.manifest import RingSpec
from device.rings import Array, Rings

specs = st.lists(
    st.builds(
        RingSpec,
        width=st.integers(1, 5),
        delays=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    ),
    min_size=1,
    max_size=4,
)


def oracle(specs: list[RingSpec], pushed: list[Array]) -> Array:
    """What `delayed` must be after these pushes."""
    parts, start = [], 0
    for spec in specs:
        for delay in spec.delays:
            known = delay <= len(pushed)
            vector = pushed[-delay][0] if known else np.zeros(start + spec.width, np.float32)
            parts.append(vector[start : start + spec.width])
        start += spec.width
    return np.concatenate(parts)[None]


@given(specs, st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_delayed_is_what_was_pushed_that_many_frames_ago(
    specs: list[RingSpec], frames: int, seed: int
) -> None:
    rings = Rings(specs)
    generator = np.random.default_rng(seed)
    pushed: list[Array] = []
    for _ in range(frames):
        np.testing.assert_array_equal(rings.delayed(), oracle(specs, pushed))
        newest = generator.random((1, sum(s.width for s in specs)), np.float32)
        rings.push(newest)
        pushed.append(newest.copy())
        newest.fill(np.nan)  # the ring keeps its own copy
    np.testing.assert_array_equal(rings.delayed(), oracle(specs, pushed))


@given(specs, st.integers(1, 20))
def test_reset_is_the_start_of_a_stream(specs: list[RingSpec], frames: int) -> None:
    used, fresh = Rings(specs), Rings(specs)
    ones = np.ones((1, sum(s.width for s in specs)), np.float32)
    for _ in range(frames):
        used.push(ones)
    used.reset()
    for _ in range(12):
        np.testing.assert_array_equal(used.delayed(), fresh.delayed())
        used.push(2 * ones)
        fresh.push(2 * ones)


@pytest.mark.parametrize("bad", [[], [RingSpec(width=1, delays=())]])
def test_a_ring_without_delays_is_refused(bad: list[RingSpec]) -> None:
    with pytest.raises(BadInputError, match="delays"):
        Rings(bad)


def test_the_present_frame_is_not_history() -> None:
    with pytest.raises(BadInputError, match="1 frame or more"):
        Rings([RingSpec(width=3, delays=(1, 0))])
