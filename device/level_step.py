"""When a room has become a louder one: a step of the sound's level over all that was heard lately.

    p_t  power of a hop in dB     a ← a + (p_t − a) / min(t + 1, RISE)
    peak ← max(a of DELAY hops ago, peak − STEP / MEMORY)
    step     a > peak + STEP, once FIRST hops were heard; then all begins anew

The loudest of the last seconds counts, so the word after a pause is no step: only where nothing as
loud was heard for MEMORY hops, as behind a quiet room. Averages of decibels, not of power: a click
is soon forgotten. A rise of 20 dB is a step within 19 hops, one of 34 dB within 8. A room that has
become quieter cannot be told from a pause and is none.
"""

from collections import deque

import numpy as np

from device.samples import Array

STEP = 15.0  # dB
RISE, DELAY, FIRST, MEMORY = 12, 24, 62, 400  # hops
LOWEST = 1e-10  # mean square, −100 dBFS


class LevelStep:
    """Watches one stream."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=DELAY)
        self.reset()

    def reset(self) -> None:
        """A new stream."""
        self._hops = 0
        self._level, self._peak = 0.0, 10 * np.log10(LOWEST)
        self._late.clear()

    def heard(self, hop: Array) -> bool:
        """Whether the level has stepped with this hop."""
        power = 10 * float(np.log10(max(float(hop @ hop) / len(hop), LOWEST)))
        self._hops += 1
        self._level += (power - self._level) / min(self._hops, RISE)
        if self._hops > FIRST and self._level > self._peak + STEP:
            self.reset()
            return True
        self._late.append(self._level)
        known = self._late[0] if self._hops > FIRST else self._level
        self._peak = max(known, self._peak - STEP / MEMORY)
        return False
