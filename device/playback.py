"""A sound file that plays as a microphone: in its own time, then it ends."""

import time
from pathlib import Path

from device.audio import AudioBlock, SoundReader

POLL = 0.1  # seconds, the longest sleep before the clock is read again


class Playback:
    """Blocks of a file, each when its last sample would have been captured.

    Args:
        path: a sound file of any format, rate and channel count.
        block: frames per `read`.
    Raises:
        BadInputError: no such file or not sound.
    """

    xruns = 0
    drops = 0

    def __init__(self, path: Path, block: int = 320) -> None:
        self._file = SoundReader(path)
        self.rate, self.channels = self._file.rate, self._file.channels
        self._block = block
        self._position = 0
        self._begin: float | None = None  # the first read starts the clock
        self.ended = False

    @property
    def backlog(self) -> int:
        """Frames whose time has come and that were not read."""
        return max(0, min(self._due(), self._file.frames) - self._position)

    def read(self, timeout: float) -> AudioBlock | None:
        """The next block, None when it is not due within `timeout` seconds or the file is over.

        Raises:
            BadInputError: the file is damaged from here on.
        """
        if self._begin is None:
            self._begin = time.monotonic()
        deadline = time.monotonic() + timeout
        wanted = min(self._position + self._block, self._file.frames)
        while (missing := wanted - self._due()) > 0:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(missing / self.rate, left, POLL))
        block = self._file.read(self._block)
        if block is None:
            self.ended = True
        else:
            self._position += len(block.samples)
        return block

    def close(self) -> None:
        """Close the file."""
        self.ended = True
        self._file.close()

    def _due(self) -> int:
        if self._begin is None:
            return 0
        return int((time.monotonic() - self._begin) * self.rate)
