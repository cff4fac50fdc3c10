"""Histories for streaming blocks: each ring remembers its newest vectors, read back by delay.

Frame t of a stream:   delayed = rings.delayed()  →  model  →  rings.push(newest)

All rings share one buffer of 2·D rows (D = the largest delay). A vector is written twice, D rows
apart, so that the last D frames always lie in one piece. What each of the D positions reads, ring
after ring and delay after delay, are views made once: a frame joins them, without modulo or loop.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device.errors import BadInputError
from device.manifest import RingSpec

Array = NDArray[np.float32]


class Rings:
    """The history of a stream, all zeros at its start.

    Args:
        specs: one ring per streaming block; a delay of 1 is the vector pushed last.
    Raises:
        BadInputError: no ring, a ring without delays, or a delay below 1 (not yet pushed).
    """

    def __init__(self, specs: Sequence[RingSpec]) -> None:
        if not specs or any(not s.delays or min(s.delays) < 1 for s in specs):
            raise BadInputError("state rings: each ring needs delays of 1 frame or more")
        width = sum(s.width for s in specs)  # M, length of `newest`
        self._depth = depth = max(max(s.delays) for s in specs)
        self._rows: Array = np.zeros((2 * depth, width), np.float32)
        places, start = [], 0
        for spec in specs:
            places += [(depth - delay, slice(start, start + spec.width)) for delay in spec.delays]
            start += spec.width
        self._views = [[self._rows[n + row, part] for row, part in places] for n in range(depth)]
        self._delayed: Array = np.zeros((1, sum(map(len, self._views[0]))), np.float32)
        self._next = 0  # row of the next push, 0…D−1; rows next…next+D−1 are the last D frames

    def delayed(self) -> Array:
        """[1, Σ width·len(delays)], ring after ring, delay after delay.

        The array is reused: it is valid until the next call.
        """
        np.concatenate(self._views[self._next], out=self._delayed[0])
        return self._delayed

    def push(self, newest: Array) -> None:
        """Add one frame: [1, Σ width], each ring's newest vector."""
        self._rows[self._next] = newest[0]
        self._rows[self._next + self._depth] = newest[0]
        self._next = (self._next + 1) % self._depth

    def reset(self) -> None:
        """Back to the start of a stream."""
        self._rows.fill(0)
        self._next = 0
