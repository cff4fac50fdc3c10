"""What peers need around their networks, hop by hop: windowed spectra, and 48 kHz.

    Overlap     x_t = w·(the newest n samples)        y = Σ v·frame, a hop at a time
    Threefold   16 kHz ⇄ 48 kHz by one linear-phase filter each way

Both are plain and exactly as late as they say, so that a peer's delay is known and not measured.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin

from compress.speech import Samples

FACTOR = 3  # 48 kHz / 16 kHz
TAPS = 145  # at 48 kHz: flat to 7.4 kHz, 60 dB down from 8.6 kHz
CUT_OFF = 8_000  # Hz
KAISER = 5.65  # 60 dB
RESAMPLING_DELAY = (TAPS - 1) // FACTOR  # samples at 16 kHz, there and back

Array = NDArray[np.float64]


class Overlap:
    """Frames of a stream and their overlap-add, n − hop samples late.

    Args:
        window: w [n], at the analysis.
        hop: samples between frames; n is a multiple of it.
        synthesis: v [n]; by default w, scaled so that an untouched frame comes out as it was.
    """

    def __init__(self, window: Array, hop: int, synthesis: Array | None = None) -> None:
        self._window, self._hop, self._size = window, hop, len(window)
        energy = (window**2).reshape(-1, hop).sum(0)
        scaled = window / np.tile(energy, self._size // hop)
        self._synthesis = scaled if synthesis is None else synthesis
        self._newest: Array = np.zeros(self._size)
        self._sum: Array = np.zeros(self._size)

    def frame(self, hop: Samples) -> Array:
        """The next hop → the windowed frame [n] that ends with it."""
        self._newest = np.concatenate((self._newest[self._hop :], hop))
        return self._newest * self._window

    def add(self, frame: Array) -> Samples:
        """An enhanced frame [n] → the hop that is complete now."""
        self._sum += frame * self._synthesis
        ready: Samples = self._sum[: self._hop].astype(np.float32)
        self._sum = np.concatenate((self._sum[self._hop :], np.zeros(self._hop)))
        return ready


class Threefold:
    """A stream's way to 48 kHz and back; both together are RESAMPLING_DELAY late."""

    def __init__(self) -> None:
        self._filter = firwin(TAPS, CUT_OFF, window=("kaiser", KAISER), fs=FACTOR * 16_000)
        padded = np.pad(FACTOR * self._filter, (0, -TAPS % FACTOR))
        self._phases = padded.reshape(-1, FACTOR).T  # [phase, tap]
        self._low: Array = np.zeros(self._phases.shape[1] - 1)
        self._high: Array = np.zeros(TAPS - 1)

    def up(self, samples: Samples) -> Samples:
        """[n] at 16 kHz → [3n] at 48 kHz."""
        heard: Array = np.concatenate((self._low, samples))
        self._low = heard[len(samples) :]
        raised = np.stack([np.convolve(heard, phase, "valid") for phase in self._phases], 1)
        found: Samples = raised.reshape(-1).astype(np.float32)
        return found

    def down(self, samples: Samples) -> Samples:
        """[3n] at 48 kHz → [n] at 16 kHz."""
        heard: Array = np.concatenate((self._high, samples))
        self._high = heard[len(samples) :]
        found: Samples = np.convolve(heard, self._filter, "valid")[::FACTOR].astype(np.float32)
        return found
