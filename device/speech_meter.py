"""What the speech app tells about itself: real-time factor, lag and level since the last report."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device.bundle import Bundle
from device.messages import SpeechTelemetry, utc
from device.samples import Array, dbfs, energy

LEAST, STEP, BINS = 1e-5, 1.01, 2000  # real-time factors up to 4000, told to half a percent
LOUDEST_LEVEL = 20.0  # dBFS; a float file can be louder, a report says no more
TEMPERATURE = Path("/sys/class/thermal/thermal_zone0/temp")  # millidegrees Celsius


@dataclass(frozen=True)
class Percentiles:
    """Real-time factors: processing time per time of sound."""

    p50: float
    p95: float
    p99: float


class Factors:
    """Real-time factors in bounded memory, however long the sound: counts of bins 1 % wide."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, np.int64)

    def add(self, factor: float) -> None:
        """One more; what lies beyond the bins counts in the last one."""
        place = int(math.log(max(factor, LEAST) / LEAST, STEP))
        self._counts[min(place, BINS - 1)] += 1

    def percentiles(self) -> Percentiles | None:
        """None when nothing was processed."""
        upto = np.cumsum(self._counts)
        if not upto[-1]:
            return None
        places = np.searchsorted(upto, upto[-1] * np.array((0.5, 0.95, 0.99)))
        return Percentiles(*(LEAST * STEP ** (float(place) + 0.5) for place in places))


class SpeechMeter:
    """Collects block by block, reports once in a while."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._rtf = Factors()
        self._lag = self._energy = 0.0
        self._samples = 0

    def block(self, samples: Array, lag: float, rtf: float | None) -> None:
        """One block of the reference channel.

        Args:
            samples: [n], before enhancement.
            lag: seconds from the newest sample captured back to the newest one sent.
            rtf: None for a block that was bypassed.
        """
        if rtf is not None:
            self._rtf.add(rtf)
        self._lag = max(self._lag, lag)
        self._energy += energy(samples)
        self._samples += len(samples)

    def report(self, frames: int, bypasses: int, xruns: int, drops: int) -> SpeechTelemetry:
        """The message; a new interval begins. Without a block, times are 0 and the level silent."""
        rtf = self._rtf.percentiles() or Percentiles(0, 0, 0)
        manifest = self._bundle.manifest
        telemetry = SpeechTelemetry(
            time=utc(time.time()),
            rtf_p50=rtf.p50,
            rtf_p95=rtf.p95,
            rtf_p99=rtf.p99,
            latency=max(0.0, 1000 * self._lag),
            level=min(dbfs(self._energy, self._samples), LOUDEST_LEVEL),
            frames=frames,
            xruns=xruns,
            drops=drops,
            bypasses=bypasses,
            temperature=temperature(),
            model_name=manifest.name,
            model_version=manifest.version,
            model_sha256=self._bundle.model_sha256,
        )
        self._rtf = Factors()
        self._lag = self._energy = 0.0
        self._samples = 0
        return telemetry


def temperature() -> float | None:
    """Degrees Celsius of the processor, where the system tells."""
    try:
        return int(TEMPERATURE.read_text()) / 1000
    except (OSError, ValueError):
        return None
