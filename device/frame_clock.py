"""Frames counted against a monotonic clock: the only sign of blocks lost below us.

Neither a flag nor an exception tells of sound that the server or the driver has dropped (measured
with PulseAudio and PipeWire). Frames behind the clock do, once two harmless reasons are taken
out: bursts (the least deficit of a window counts) and drift (a window is short).
"""

WINDOW = 10.0  # seconds; a device clock off by 0.05 % drifts 5 ms in it
TOLERANCE = 0.1  # seconds that the deficit may grow from window to window


class FrameClock:
    """Watches one uninterrupted capture of `rate` frames a second."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.lost = 0
        """Frames missing since the first capture."""
        self.restart()

    def restart(self) -> None:
        """A new capture begins; what was lost stays counted."""
        self._begin: float | None = None
        self._usual: float | None = None

    def update(self, frames: int, now: float) -> int:
        """Report the frames captured so far. Returns the frames newly found missing.

        Args:
            frames: a count that only grows.
            now: monotonic time, seconds.
        """
        if self._begin is None:
            self._begin = self._window = now
            self._first, self._least = frames, 0.0
        deficit = now - self._begin - (frames - self._first) / self._rate
        if now - self._window < WINDOW:
            self._least = min(self._least, deficit)
            return 0
        missing = 0
        if self._usual is not None and self._least - self._usual > TOLERANCE:
            missing = round((self._least - self._usual) * self._rate)
            self.lost += missing
        self._usual, self._least, self._window = self._least, deficit, now
        return missing
