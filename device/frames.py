"""Frames and what every source of frames has in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from types import TracebackType
from typing import Self

from device.images import Image


@dataclass(frozen=True)
class Frame:
    """One picture and when it was taken."""

    image: Image
    time: float  # seconds, monotonic; for a recording start + position
    wall: float  # seconds since the epoch
    index: int  # counts every frame of the source, also those dropped


class State(Enum):
    """What a source is doing."""

    READING = "reading"
    REOPENING = "reopening"
    ENDED = "ended"


@dataclass(frozen=True)
class Counters:
    """What happened since the start."""

    grabbed: int = 0
    dropped: int = 0  # a newer frame came first, or the frame rate asked for is lower
    stalls: int = 0  # no frame within the read time-out, or the stream broke
    reopened: int = 0


class Camera(ABC):
    """A source of frames, in order, at most `max_fps` of them per second of the source's time."""

    def __init__(self, source: str, max_fps: float) -> None:
        self.source = source
        self.state = State.READING
        self.counters = Counters()
        self._interval = 1 / max_fps
        self._due = float("-inf")  # source time before which frames are left out

    @abstractmethod
    def read(self, timeout: float) -> Frame | None:
        """The next frame, waiting up to `timeout` seconds; None when there is none yet."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the device; bounded in time."""

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the source ends; a live source does not."""
        while self.state is not State.ENDED:
            frame = self.read(timeout=1.0)
            if frame is not None:
                yield frame

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _took(self, when: float) -> None:
        # on a grid, so that 12.5 frames/s asked for at 10 become 10 and not 6.25
        late = when - self._due
        self._due = (when if late > self._interval else self._due) + self._interval

    def _count(
        self, grabbed: int = 0, dropped: int = 0, stalls: int = 0, reopened: int = 0
    ) -> None:
        old = self.counters
        self.counters = replace(
            old,
            grabbed=old.grabbed + grabbed,
            dropped=old.dropped + dropped,
            stalls=old.stalls + stalls,
            reopened=old.reopened + reopened,
        )
