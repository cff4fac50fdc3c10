"""Real-time factors of systems, all in one run: the same sound, hop by hop, one thread, in turns.

A hop is everything from samples to samples: resampling, transforms, network, overlap-add. Each
round gives every system the same seconds of sound. What other work does to the machine hits all
alike (scripts/interleaved.py), and how much there was of it stands beside the figures; figures of
different runs are not comparable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from compress import busy
from compress.speech import Samples
from device.errors import BadInputError
from scripts.interleaved import in_turns
from scripts.speech_systems import System

BLOCK_SECONDS = 2.0  # of sound, to each system in each round


@dataclass(frozen=True)
class Speed:
    """Processing time over real time; below 1 keeps up."""

    rtf: float
    """Median over rounds of each round's median hop."""
    low: float
    """10th percentile over rounds."""
    high: float
    """90th."""
    hop_ms: float
    """Median hop, milliseconds."""
    p99_ms: float
    """Over all hops of all rounds: other work on the machine is in it."""
    hops: int


class Stream:
    """A system with its stream and sound [n], which it hears over and over."""

    def __init__(self, system: System, sound: Samples) -> None:
        count = len(sound) // system.hop
        if not count:
            raise BadInputError(
                f"{len(sound)} samples of sound are less than a hop of {system.name}"
            )
        self._hops = sound[: count * system.hop].reshape(count, system.hop)
        self._block = max(1, round(BLOCK_SECONDS / system.period))
        self._step, self._next = system.start(), 0

    def timed(self) -> NDArray[np.float64]:
        """Seconds of each hop of one block."""
        taken = np.empty(self._block)
        for index in range(self._block):
            hop = self._hops[self._next]
            started = perf_counter()
            self._step(hop)
            taken[index] = perf_counter() - started
            self._next = (self._next + 1) % len(self._hops)
        return taken


def measure(
    systems: Sequence[System], sound: Samples, rounds: int
) -> tuple[dict[str, Speed], float]:
    """By name, and the share of the time in which the processor did other work.

    `sound` [n] at 16 kHz; one more round before the first warms up.

    Raises:
        BadInputError: the sound is shorter than a hop.
    """
    streams = {system.name: Stream(system, sound) for system in systems}
    attention = busy.Attention()
    taken = in_turns({name: stream.timed for name, stream in streams.items()}, rounds + 1)
    others = attention.others()
    speeds = {system.name: _speed(system, taken[system.name][1:]) for system in systems}
    return speeds, others


def _speed(system: System, rounds: list[NDArray[np.float64]]) -> Speed:
    medians = np.array([np.median(block) for block in rounds])
    low, middle, high = np.percentile(medians, (10, 50, 90)) / system.period
    every = np.concatenate(rounds)
    return Speed(
        rtf=float(middle),
        low=float(low),
        high=float(high),
        hop_ms=float(1e3 * np.median(medians)),
        p99_ms=float(1e3 * np.percentile(every, 99)),
        hops=len(every),
    )
