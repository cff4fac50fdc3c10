"""When a room has become another one: a step of the sound's level that lasts.

    p_t  power of a hop in dB      x ← x + (p_t − x) / min(t + 1, N)   for each average x

    louder    average over RISE hops  > average over MEMORY + STEP
    quieter   average over FALL hops  < average over MEMORY − STEP

After a step all averages go on from the new level. Averages of decibels, not of power: a click is
soon forgotten, and a pause in speech is shorter than FALL. After a long steady level a rise of
20 dB is one within 19 hops, of 34 dB within 8, a fall of 30 dB within 27; one of 20 dB is none.
"""

import numpy as np

from device.samples import Array

STEP = 15.0  # dB
RISE, FALL, MEMORY = 12, 32, 400  # hops
LOWEST = 1e-10  # mean square, −100 dBFS


class LevelStep:
    """Watches one stream."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """A new stream."""
        self._hops = 0
        self._rise = self._fall = self._memory = 0.0

    def heard(self, hop: Array) -> bool:
        """Whether the level has stepped with this hop."""
        power = 10 * float(np.log10(max(float(hop @ hop) / len(hop), LOWEST)))
        self._hops += 1
        self._rise += (power - self._rise) / min(self._hops, RISE)
        self._fall += (power - self._fall) / min(self._hops, FALL)
        self._memory += (power - self._memory) / min(self._hops, MEMORY)
        louder = self._rise > self._memory + STEP
        quieter = self._fall < self._memory - STEP
        if louder or quieter:
            level = self._rise if louder else self._fall
            self._rise = self._fall = self._memory = level
        return louder or quieter
