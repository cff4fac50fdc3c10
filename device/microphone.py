"""PortAudio capture that survives its device: watchdog, reopening, every loss counted.

The callback only copies into a ring. `read`, called by the worker, does everything else:

    CLOSED → OPEN ⇄ STALLED → REOPENING → STALLED → OPEN

A vanished source is silent: callbacks stop, nothing is reported (STALLED). A dead sound server
ends the stream (REOPENING at once). A reopened stream counts as OPEN with its first callback.
"""

import contextlib
import importlib
import logging
import threading
import time
from enum import Enum
from types import ModuleType
from typing import Any

from device.audio import AudioBlock
from device.errors import BadInputError
from device.frame_clock import FrameClock
from device.sample_ring import SampleRing
from device.samples import Pcm, from_pcm

log = logging.getLogger(__name__)

POLL = 0.004  # seconds between looks at the ring: a fifth of a 20 ms block
FIRST_RETRY = 0.5  # seconds a stalled or dead device is given before it is opened anew
LAST_RETRY = 30.0  # seconds; each attempt in vain doubles the wait up to this


class State(Enum):
    """What the capture is doing."""

    CLOSED = "closed"
    OPEN = "open"
    STALLED = "stalled"
    REOPENING = "reopening"


class Microphone:
    """One PortAudio input. One per process: reopening re-initialises PortAudio.

    Args:
        device: PortAudio name, part of a name, or number.
        channels, rate: what the device is opened with (16-bit samples).
        block: frames per callback and per `read`.
        buffer: seconds the ring holds; what does not fit is dropped and counted.
        stall_timeout: seconds without a callback that make a stalled device.
    """

    def __init__(
        self,
        device: str,
        *,
        channels: int = 1,
        rate: int = 16_000,
        block: int = 320,
        buffer: float = 2.0,
        stall_timeout: float = 2.0,
    ) -> None:
        self.device, self.channels, self.rate = device, channels, rate
        self.state = State.CLOSED
        self.stalls = 0
        """Times the callbacks stopped."""
        self.reopened = 0
        """Times a lost device delivered sound again after being opened anew."""
        self._block, self._stall_timeout = block, stall_timeout
        self._ring = SampleRing(max(round(buffer * rate), 2 * block), channels)
        self._clock = FrameClock(rate)
        self._callbacks = self._overflows = 0
        self._seen = 0  # callbacks at the last look
        self._heard_at = 0.0  # monotonic time of the last look that saw a new one
        self._retry_at = 0.0
        self._wait = FIRST_RETRY
        self._anew = False  # the stream was opened anew and has not delivered yet
        self._ended = threading.Event()  # set by PortAudio when the stream is over
        self._stream: Any = None

    @property
    def backlog(self) -> int:
        """Frames captured and not read."""
        return self._ring.available

    @property
    def ended(self) -> bool:
        """A microphone never ends by itself."""
        return self.state is State.CLOSED

    @property
    def xruns(self) -> int:
        """Overflows that PortAudio has flagged."""
        return self._overflows

    @property
    def drops(self) -> int:
        """Blocks lost: the ring was full, or frames fell behind the clock."""
        return self._ring.dropped + -(-self._clock.lost // self._block)

    def open(self) -> None:
        """Start capturing.

        Raises:
            BadInputError: PortAudio is missing, or there is no such device (names those there
                are), or it cannot deliver this rate or channel count.
        """
        sounddevice = _sounddevice()
        try:
            self._start(sounddevice)
        except (ValueError, sounddevice.PortAudioError) as error:
            raise BadInputError(
                f"speech.device: {self.device!r} with {self.channels} channels at {self.rate} Hz: "
                f"{_reason(error)}; inputs here: {_inputs(sounddevice)}"
            ) from error
        self._look(State.OPEN, time.monotonic())

    def read(self, timeout: float) -> AudioBlock | None:
        """The oldest block, float32 [frames ≤ block, channels]; None after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            now = time.monotonic()
            self._supervise(now)
            if self._ring.available:
                return AudioBlock(from_pcm(self._ring.read(self._block)))
            if now >= deadline or self.state is State.CLOSED:
                return None
            time.sleep(POLL)

    def close(self) -> None:
        """Stop capturing."""
        self._stop()
        self.state = State.CLOSED

    def _callback(self, block: Pcm, frames: int, times: object, flags: Any) -> None:
        """PortAudio's thread: copy and count, nothing else."""
        self._ring.write(block)
        self._callbacks += 1
        if flags.input_overflow:
            self._overflows += 1

    def _supervise(self, now: float) -> None:
        if self.state is State.CLOSED:
            return
        if self.state is State.REOPENING:
            if now >= self._retry_at:
                self._reopen(now)
        elif self._ended.is_set():
            log.warning("microphone %s: the sound server ended the stream", self.device)
            self._lose(now)
        elif self._callbacks != self._seen:
            self._hear(now)
        elif self.state is State.OPEN and now - self._heard_at > self._stall_timeout:
            log.warning("microphone %s: silent for %.1f s", self.device, now - self._heard_at)
            self.stalls += 1
            self._retry_at = now + self._wait
            self.state = State.STALLED
        elif self.state is State.STALLED and now >= self._retry_at:
            self._lose(now)

    def _hear(self, now: float) -> None:
        if self.state is State.STALLED:
            log.info("microphone %s: sound again", self.device)
            self.reopened += self._anew
            self._anew = False
            self._wait = FIRST_RETRY
            self._clock.restart()
            self.state = State.OPEN
        self._seen, self._heard_at = self._callbacks, now
        delivered = self._ring.written + self._ring.dropped * self._block
        missing = self._clock.update(delivered, now)
        if missing:
            log.warning("microphone %s: %d frames behind the clock: lost", self.device, missing)

    def _lose(self, now: float) -> None:
        self._stop()
        self._retry_at = now
        self.state = State.REOPENING

    def _reopen(self, now: float) -> None:
        sounddevice = _sounddevice()
        try:
            # the list of devices is as old as PortAudio's initialisation
            with contextlib.suppress(sounddevice.PortAudioError):  # not initialised last time
                sounddevice._terminate()
            sounddevice._initialize()
            self._start(sounddevice)
        except (ValueError, sounddevice.PortAudioError) as error:
            log.info("microphone %s: not back yet: %s", self.device, _reason(error))
            self._retry_at = now + self._wait
        else:
            self._anew = True
            self._look(State.STALLED, now)
            self._retry_at = now + max(self._wait, self._stall_timeout)
        self._wait = min(2 * self._wait, LAST_RETRY)

    def _look(self, state: State, now: float) -> None:
        self.state = state
        self._seen, self._heard_at = self._callbacks, now

    def _start(self, sounddevice: ModuleType) -> None:
        ended = threading.Event()  # this stream's own: the end of an older one is no news
        device: str | int = int(self.device) if self.device.isdecimal() else self.device
        stream = sounddevice.InputStream(
            device=device,
            channels=self.channels,
            samplerate=self.rate,
            blocksize=self._block,
            dtype="int16",
            latency="low",
            callback=self._callback,
            finished_callback=ended.set,
        )
        self._seen = self._callbacks
        self._ended, self._stream = ended, stream
        try:
            stream.start()
        except sounddevice.PortAudioError:
            self._stop()
            raise

    def _stop(self) -> None:
        if self._stream is not None:
            self._stream.abort(ignore_errors=True)  # stop() waits 40 s for a stalled source
            self._stream.close(ignore_errors=True)
            self._stream = None


def _sounddevice() -> ModuleType:
    """PortAudio is loaded at the first use: everything else works without it."""
    try:
        return importlib.import_module("sounddevice")
    except OSError as error:
        raise BadInputError("PortAudio is missing: apt-get install libportaudio2") from error


def _inputs(sounddevice: ModuleType) -> str:
    names = [d["name"] for d in sounddevice.query_devices() if d["max_input_channels"] > 0]
    return ", ".join(map(repr, names)) or "none"


def _reason(error: Exception) -> str:
    return str(error.args[0] if error.args else error).splitlines()[0]
