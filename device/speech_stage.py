"""Blocks of an audio source in, Hermes frames of enhanced speech out, never late for long.

    block → reference channel → 16 kHz → STFT → mask net → ISTFT → 20 ms frames

When the worker falls behind by more than LATE seconds, sound passes dry, which costs next to
nothing, until it has caught up; the window of the STFT fades from one to the other.
"""

import logging
import time

from device.audio import AudioBlock, AudioSource, Resampler
from device.bundle import Bundle
from device.enhancer import StreamEnhancer
from device.errors import BadInputError
from device.hermes import RATE, Framer
from device.messages import SpeechTelemetry
from device.samples import Array, without_broken
from device.speech_meter import SpeechMeter

log = logging.getLogger(__name__)

LATE = 0.2  # seconds of backlog from which the model is bypassed
ON_TIME = 0.04  # seconds of backlog at which the model hears again


class SpeechStage:
    """Everything between the source and the broker.

    Args:
        source: the blocks come from it; its backlog decides what is late.
        reference: the channel that is enhanced.
    Raises:
        BadInputError: the source has no such channel, or the model does not work at 16 kHz.
    """

    def __init__(
        self, source: AudioSource, enhancer: StreamEnhancer, bundle: Bundle, reference: int
    ) -> None:
        if reference >= source.channels:
            raise BadInputError(
                f"speech.reference: channel {reference}, but the source has "
                f"{source.channels} (0…{source.channels - 1})"
            )
        if enhancer.rate != RATE:
            raise BadInputError(f"{bundle.path}: works at {enhancer.rate} Hz, not at {RATE}")
        self.bypassing = False
        """Sound passes dry because the worker is late."""
        self._source, self._enhancer, self._reference = source, enhancer, reference
        self._resampler = Resampler(source.rate, RATE)
        self._framer = Framer()
        self._meter = SpeechMeter(bundle)
        self._captured = 0  # frames read from the source
        self._enhanced = 0  # samples out of the enhancer
        self._broken = 0
        self._told = (0, 0)  # the faults of the last log line

    def process(self, block: AudioBlock) -> list[bytes]:
        """One block in, the frames that became complete out."""
        self._look_at_the_backlog()
        begin = time.perf_counter()
        samples, broken = without_broken(block.samples[:, self._reference])
        frames = self._frames(self._resampler.process(samples))
        seconds = time.perf_counter() - begin
        self._captured += len(samples)
        self._broken += broken
        rtf = None if self.bypassing else seconds * self._source.rate / len(samples)
        self._meter.block(samples, self._lag(), rtf)
        return frames

    def flush(self) -> list[bytes]:
        """The end of the source: the frames still inside, the last one filled with silence."""
        frames = self._frames(self._resampler.flush())
        return frames + self._framer.process(self._enhancer.flush()) + self._framer.flush()

    def telemetry(self) -> SpeechTelemetry:
        """Counts since the start, times and level since the last call; new faults are logged."""
        faults = self._broken, self._enhancer.bad_frames
        if faults != self._told:
            log.warning(
                "since the start: %d samples were not numbers, %d frames passed dry because the "
                "model's output was not finite",
                *faults,
            )
            self._told = faults
        return self._meter.report(
            frames=self._enhancer.frames,
            bypasses=self._enhancer.bypassed_frames,
            xruns=self._source.xruns,
            drops=self._source.drops,
        )

    def _frames(self, samples: Array) -> list[bytes]:
        ready = self._enhancer.process(samples, bypass=self.bypassing)
        self._enhanced += len(ready)
        return self._framer.process(ready)

    def _look_at_the_backlog(self) -> None:
        backlog = self._source.backlog / self._source.rate
        if not self.bypassing and backlog > LATE:
            log.warning("%.2f s behind: sound passes dry until it has caught up", backlog)
            self.bypassing = True
        elif self.bypassing and backlog <= ON_TIME:
            log.info("caught up after %d frames", self._enhancer.bypassed_frames)
            self.bypassing = False

    def _lag(self) -> float:
        captured = (self._captured + self._source.backlog) / self._source.rate
        sent = self._enhanced - self._framer.waiting - self._enhancer.delay
        return captured - sent / RATE
