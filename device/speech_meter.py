"""What the speech app tells about itself: real-time factor, lag and level since the last report."""

import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device.bundle import Bundle
from device.messages import SpeechTelemetry, utc
from device.samples import Array, dbfs, energy

MOST_BLOCKS = 10_000  # blocks a report looks back at most: 200 s of 20 ms
LOUDEST_LEVEL = 20.0  # dBFS; a float file can be louder, a report says no more
TEMPERATURE = Path("/sys/class/thermal/thermal_zone0/temp")  # millidegrees Celsius


@dataclass(frozen=True)
class Percentiles:
    """Real-time factors: processing time per time of sound."""

    p50: float
    p95: float
    p99: float


def percentiles(rtf: list[float]) -> Percentiles | None:
    """None when nothing was processed."""
    if not rtf:
        return None
    return Percentiles(*(float(value) for value in np.percentile(rtf, (50, 95, 99))))


class SpeechMeter:
    """Collects block by block, reports once in a while."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._rtf: deque[float] = deque(maxlen=MOST_BLOCKS)
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
            self._rtf.append(rtf)
        self._lag = max(self._lag, lag)
        self._energy += energy(samples)
        self._samples += len(samples)

    def report(self, frames: int, bypasses: int, xruns: int, drops: int) -> SpeechTelemetry:
        """The message; a new interval begins. Without a block, times are 0 and the level silent."""
        rtf = percentiles(list(self._rtf)) or Percentiles(0, 0, 0)
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
        self._rtf.clear()
        self._lag = self._energy = 0.0
        self._samples = 0
        return telemetry


def temperature() -> float | None:
    """Degrees Celsius of the processor, where the system tells."""
    try:
        return int(TEMPERATURE.read_text()) / 1000
    except (OSError, ValueError):
        return None
