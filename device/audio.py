"""Sound from files and back: blocks of float32, any rate and channel count in.

Reading is streamed: an hour of sound takes no more memory than a second.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import soundfile
import soxr

from device import files, wav_header
from device.errors import BadInputError, FieldwrenError
from device.samples import Array, to_pcm

log = logging.getLogger(__name__)

FORMATS = {".wav": "WAV", ".flac": "FLAC"}  # what is written, by suffix, 16 bits
UNKNOWN = 2**63 - 1  # frames, in libsndfile
PROBE = 65_536  # bytes; a block of sound that did not fit left less
RATES = (1_000, 768_000)  # Hz; beyond these it is a broken header, not sound


@dataclass(frozen=True)
class AudioBlock:
    """A piece of a stream: samples [frames, channels], full scale 1."""

    samples: Array


class AudioSource(Protocol):
    """A microphone, or a file that plays as one."""

    rate: int
    """Hz."""
    channels: int

    @property
    def backlog(self) -> int:
        """Frames that have been captured and not read."""

    @property
    def ended(self) -> bool:
        """No block will come any more."""

    @property
    def xruns(self) -> int:
        """Times the sound system reported a loss."""

    @property
    def drops(self) -> int:
        """Blocks lost before they could be read."""

    def read(self, timeout: float) -> AudioBlock | None:
        """The next block, waiting up to `timeout` seconds for it."""

    def close(self) -> None:
        """Release the device or file."""


class Resampler:
    """One channel from one rate to another, block by block, without shift in time."""

    def __init__(self, source: int, target: int) -> None:
        self._ratio = target / source
        self._frames_in = self._frames_out = 0
        self._stream = (
            None
            if source == target
            else soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")
        )

    def process(self, samples: Array) -> Array:
        """Samples in, the samples that became ready out."""
        self._frames_in += len(samples)
        if self._stream is None:
            return samples
        ready: Array = self._stream.resample_chunk(samples)
        self._frames_out += len(ready)
        return ready

    def flush(self) -> Array:
        """The rest: all output together is round(input · target / source) samples long."""
        if self._stream is None or not self._frames_in:
            return np.zeros(0, np.float32)
        rest: Array = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        missing = max(0, round(self._frames_in * self._ratio) - self._frames_out)
        return np.pad(rest, (0, max(0, missing - len(rest))))[:missing]


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """Read from the start to the end: a FLAC that does not know its length refuses any seek."""

    def seekable(self) -> bool:
        """No; soundfile would seek with every block."""
        return False


class SoundReader:
    """An open sound file of any format libsndfile reads (WAV, FLAC, Ogg, …).

    A WAV that ends before its header says is heard as far as it goes, with a warning.

    Raises:
        BadInputError: no such file, a folder, not sound, a WAV whose header was never finished, or
            a file that is damaged further on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_dir():
            raise BadInputError(f"{path}: a folder, not a sound file: name one file")
        if not path.is_file():
            raise BadInputError(f"{path}: no such sound file")
        try:
            self._file = _Forward(path)
        except (OSError, RuntimeError) as error:
            raise BadInputError(f"{path}: not a sound file: {_reason(error)}") from error
        self.rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames: int = self._file.frames
        """2^63 − 1 where the file does not say: a FLAC that was streamed."""
        self._position = 0
        if not RATES[0] <= self.rate <= RATES[1]:
            self.close()
            raise BadInputError(f"{path}: {self.rate} Hz is not a sampling rate of sound")
        self._compare_with_header()

    def read(self, frames: int) -> AudioBlock | None:
        """Up to `frames` frames; None at the end."""
        try:
            samples = self._file.read(frames, dtype="float32", always_2d=True)
        except RuntimeError as error:
            raise BadInputError(f"{self._path}: damaged: {_reason(error)}") from error
        self._position += len(samples)
        exact = self._file.format == "FLAC" and self.frames < UNKNOWN  # MP3's lengths are guesses
        if exact and len(samples) < frames and self._position < self.frames:
            raise BadInputError(
                f"{self._path}: damaged: ends after {self._position} of {self.frames} frames"
            )
        return AudioBlock(samples) if len(samples) else None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _compare_with_header(self) -> None:
        found = wav_header.sizes(self._path)
        if found is None:
            return
        if not found.promised and found.held:
            self.close()
            raise BadInputError(
                f"{self._path}: its header was never finished: no sound by it, {found.held} bytes "
                "in the file; repair it: ffmpeg -ignore_length 1 -i IN.wav OUT.wav"
            )
        if found.promised > found.held:
            log.warning(
                "%s: cut short: %d bytes of sound, its header promises %d",
                self._path,
                found.held,
                found.promised,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class SoundWriter:
    """Mono samples into an open 16-bit file. Made by `writing`."""

    def __init__(self, target: soundfile.SoundFile) -> None:
        self._target = target
        self.frames = 0

    def write(self, samples: Array) -> None:
        """Append samples; what is beyond full scale is clipped."""
        self._target.write(to_pcm(samples))
        self.frames += len(samples)


@contextmanager
def writing(path: Path, rate: int) -> Iterator[SoundWriter]:
    """Write mono sound of `rate` Hz, format by suffix; the file appears whole or not at all.

    Raises:
        BadInputError: the suffix is unknown, or nothing can be written there.
        FieldwrenError: the disk is full, or libsndfile cannot write.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise BadInputError(f"{path}: can write {' or '.join(FORMATS)} only")
    if not path.parent.is_dir():
        raise BadInputError(f"{path}: no such folder: {path.parent}")
    if path.is_dir():
        raise BadInputError(f"{path}: is a folder")
    try:
        with files.replacing(path) as temporary:
            try:
                target = soundfile.SoundFile(
                    temporary, "w", samplerate=rate, channels=1, format=kind, subtype="PCM_16"
                )
                with target:
                    writer = SoundWriter(target)
                    yield writer
                _check_end(temporary, writer.frames)
            except (soundfile.LibsndfileError, EOFError) as error:
                _probe(temporary)
                raise FieldwrenError(f"{path}: cannot write: {_reason(error)}") from error
    except OSError as error:
        refusal = FieldwrenError if error.errno in files.NO_ROOM else BadInputError
        raise refusal(f"{path}: cannot write: {error.strerror}") from error


def _check_end(path: Path, frames: int) -> None:
    """EOFError where the last frame is missing: FLAC's is written at the end, in vain or not."""
    if frames:
        with soundfile.SoundFile(path) as written:
            written.seek(frames - 1)
            if not len(written.read(1)):
                raise EOFError("cut short")


def _probe(path: Path) -> None:
    """OSError where more cannot be written: libsndfile keeps to itself that a disk is full."""
    with path.open("ab") as file:
        file.write(bytes(PROBE))


def _reason(error: Exception) -> str:
    """libsndfile's own words, without the path it repeats."""
    return str(getattr(error, "error_string", error)).rstrip(".")
