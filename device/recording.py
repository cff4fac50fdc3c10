"""Recordings: a video file or a folder of pictures.

A recording waits for its reader: no thread, frames in order, optionally at their own speed.
"""

import logging
import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from device.errors import BadInputError
from device.frames import Camera, Frame, State

log = logging.getLogger(__name__)

STILLS_PER_SECOND = 10.0  # how fast a folder of pictures plays
MAX_LATE = 1.0  # seconds a recording may lag behind its own speed before its clock is moved
DEFAULT_RATE = 25.0  # frames per second of a file that does not say
PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


class Recording(Camera):
    """A video file or a folder of pictures. Frame times are start + position in the recording."""

    def __init__(self, source: str, pace: bool, max_fps: float) -> None:
        super().__init__(source, max_fps)
        path = Path(source)
        if not path.exists():
            raise BadInputError(f"{source}: no such video file, folder or camera")
        self._pace = pace
        self._capture = (
            Pictures(path) if path.is_dir() else cv2.VideoCapture(source, cv2.CAP_FFMPEG)
        )
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self._rate = rate if 0 < rate <= 1000 else DEFAULT_RATE
        if not self._capture.grab():
            self._capture.release()
            raise BadInputError(f"{source}: no video that can be read")
        self._index = 0  # of the frame that is grabbed but not yet delivered
        self._start = self._start_wall = 0.0  # of the first read

    def read(self, timeout: float) -> Frame | None:
        """The next frame; None when it is not due within `timeout` seconds, or at the end."""
        if not self._start:
            self._start, self._start_wall = time.monotonic(), time.time()
        while self.state is State.READING:
            position = self._index / self._rate
            late = time.monotonic() - (self._start + position) if self._pace else 0.0
            if late < -timeout:
                time.sleep(timeout)
                return None
            if late < 0:
                time.sleep(-late)
            if late > MAX_LATE:  # this machine cannot keep up: play on from here
                self._start += late
                late = 0.0
            image = None
            if self._start + position >= self._due - 1e-6 and late * self._rate < 1:
                image = self._capture.retrieve()[1]
                self._took(self._start + position)
            frame_index = self._index
            self._count(grabbed=1, dropped=image is None)
            self._index += 1
            if not self._capture.grab():
                self.close()
            if image is not None:
                return Frame(
                    np.asarray(image, np.uint8),
                    self._start + position,
                    self._start_wall + position,
                    frame_index,
                )
        return None

    def close(self) -> None:
        """End the recording."""
        self._capture.release()
        self.state = State.ENDED


class Pictures:
    """A folder's pictures in the order of their names, with the interface of a video file."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
        self._image: cv2.typing.MatLike | None = None

    def get(self, _property: int) -> float:
        """The frame rate: the one property asked for."""
        return STILLS_PER_SECOND

    def grab(self) -> bool:
        """Go to the next picture; one that cannot be read is left out with a warning."""
        while self._paths:
            path = self._paths.pop(0)
            # as bytes: OpenCV crashes on a name that is not UTF-8
            name: Any = os.fsencode(path)
            self._image = cv2.imread(name, cv2.IMREAD_COLOR)
            if self._image is not None:
                return True
            log.warning("%s: not a readable picture, left out", path)
        return False

    def retrieve(self) -> tuple[bool, cv2.typing.MatLike | None]:
        """The present picture."""
        return self._image is not None, self._image

    def release(self) -> None:
        """Forget the rest."""
        self._paths = []
