"""Hermes audio frames (Rhasspy): each MQTT message is one complete WAV file of 20 ms.

44 bytes of header and 320 samples of 16 bits, mono, 16 kHz: 684 bytes.
"""

import struct

import numpy as np

from device.samples import Array, Pcm, to_pcm

RATE = 16_000  # Hz
FRAME = 320  # samples, 20 ms
_BYTES = 2 * FRAME
_HEADER = struct.pack(
    "<4sI4s4sIHHIIHH4sI",
    *(b"RIFF", 36 + _BYTES, b"WAVE"),
    *(b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16),  # PCM, mono, 16 bits
    *(b"data", _BYTES),
)


class Framer:
    """Cuts a stream of samples into Hermes frames."""

    def __init__(self) -> None:
        self._rest: Pcm = np.zeros(0, np.int16)

    @property
    def waiting(self) -> int:
        """Samples that do not fill a frame yet, 0…319."""
        return len(self._rest)

    def process(self, samples: Array) -> list[bytes]:
        """Samples [n] of full scale 1 in, the frames that became complete out."""
        pcm = np.concatenate((self._rest, to_pcm(samples)))
        whole = len(pcm) - len(pcm) % FRAME
        self._rest = pcm[whole:]
        return [
            _HEADER + pcm[start : start + FRAME].astype("<i2").tobytes()
            for start in range(0, whole, FRAME)
        ]

    def flush(self) -> list[bytes]:
        """The last frame, filled up with silence, if samples are waiting."""
        return self.process(np.zeros(-len(self._rest) % FRAME, np.float32))
