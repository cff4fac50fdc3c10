"""Preallocated ring between a sound callback and the worker: one writer, one reader, no lock.

Each counter has one owner, so that under the interpreter's lock neither side ever waits for the
other. A block that does not fit is dropped whole and counted: the queue never grows.
"""

import numpy as np

from device.samples import Pcm


class SampleRing:
    """Room for `frames` frames of `channels` 16-bit samples."""

    def __init__(self, frames: int, channels: int) -> None:
        self._room: Pcm = np.zeros((frames, channels), np.int16)
        self._read = 0
        self.written = 0
        """Frames accepted since the start."""
        self.dropped = 0
        """Blocks that did not fit."""

    @property
    def available(self) -> int:
        """Frames written and not yet read."""
        return self.written - self._read

    def write(self, block: Pcm) -> None:
        """Writer: copy a block [frames, channels] in, or drop it."""
        count, size = len(block), len(self._room)
        if count > size - self.available:
            self.dropped += 1
            return
        start = self.written % size
        first = min(count, size - start)
        self._room[start : start + first] = block[:first]
        self._room[: count - first] = block[first:]
        self.written += count  # last: now the reader may see it

    def read(self, most: int) -> Pcm:
        """Reader: the oldest frames, at most `most`, as a copy."""
        size = len(self._room)
        count = min(most, self.available)
        start = self._read % size
        first = min(count, size - start)
        block = np.concatenate((self._room[start : start + first], self._room[: count - first]))
        self._read += count  # last: now the writer may reuse the room
        return block
