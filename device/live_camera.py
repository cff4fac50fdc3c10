"""Live cameras: RTSP, HTTP and V4L2.

They deliver whether anybody reads or not: a slow reader of OpenCV's queue was 8 s late after 10 s.
So a thread grabs all the time and keeps only the newest frame. Life is judged by what read()
returns, never by isOpened(), which stays true on a dead stream.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from device.errors import BadInputError
from device.frames import Camera, Frame, State

log = logging.getLogger(__name__)

RETRY_FIRST = 0.5  # seconds before the first attempt to reopen a lost camera
RETRY_FACTOR = 2.0
RETRY_MAX = 5.0  # seconds; a camera plugged in again is seen soon after
OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # an environment variable, read at every open
RTSP_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"


class LiveCamera(Camera):
    """A camera that delivers in its own time; reopened with back-off when it stops."""

    def __init__(
        self,
        source: str,
        shown: str,
        open_timeout: float,
        read_timeout: float,
        max_fps: float,
    ) -> None:
        super().__init__(source, max_fps)
        self.shown = shown  # the source without its password
        self._open_timeout, self._read_timeout = open_timeout, read_timeout
        self._arrived = threading.Condition()
        self._newest: Frame | None = None
        self._stop = threading.Event()
        capture = self._open()
        first = capture.read()[1] if capture is not None else None
        if capture is None or first is None:
            raise BadInputError(f"{shown}: no picture from this camera: is it on and reachable?")
        self._index = 0
        self._put(first)
        self._thread = threading.Thread(
            target=self._grab, args=(capture,), name="camera", daemon=True
        )
        self._thread.start()

    def read(self, timeout: float) -> Frame | None:
        """The newest frame not yet read; None when none has come within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        early = self._due - time.monotonic()
        if early > 0 and self._stop.wait(min(early, timeout)):
            return None
        with self._arrived:
            self._arrived.wait_for(
                lambda: self._newest is not None or self._stop.is_set(),
                max(0.0, deadline - time.monotonic()),
            )
            frame, self._newest = self._newest, None
        if frame is not None:
            self._took(frame.time)
        return frame

    def close(self) -> None:
        """Stop the thread; it lets go of the device at the latest after its time-outs."""
        self._stop.set()
        with self._arrived:
            self._arrived.notify_all()
        self._thread.join(self._open_timeout + self._read_timeout)
        self._newest = None
        self.state = State.ENDED

    def _open(self) -> cv2.VideoCapture | None:
        if "://" in self.source:
            limits = [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                round(self._open_timeout * 1000),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                round(self._read_timeout * 1000),
            ]
            with _rtsp_options() if self.source.startswith("rtsp") else contextlib.nullcontext():
                capture = cv2.VideoCapture(self.source, cv2.CAP_FFMPEG, limits)
        else:
            os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] = str(max(1, round(self._read_timeout)))
            device = self.source if self.source.startswith("/") else f"/dev/video{self.source}"
            capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        if capture.isOpened():
            return capture
        capture.release()
        return None

    def _put(self, image: cv2.typing.MatLike) -> None:
        frame = Frame(np.asarray(image, np.uint8), time.monotonic(), time.time(), self._index)
        self._index += 1
        with self._arrived:
            self._count(grabbed=1, dropped=self._newest is not None)
            self._newest = frame
            self._arrived.notify_all()

    def _grab(self, capture: cv2.VideoCapture) -> None:
        """The thread: read for ever, reopen when a read fails."""
        while not self._stop.is_set():
            good, image = capture.read()
            if good:
                self._put(image)
                continue
            capture.release()
            self._count(stalls=1)
            self.state = State.REOPENING
            log.warning("camera %s: no frame, reopening", self.shown)
            again = self._reopen()
            if again is None:
                return
            capture = again
            self.state = State.READING
            self._count(reopened=1)
            log.info("camera %s: frames again", self.shown)
        capture.release()

    def _reopen(self) -> cv2.VideoCapture | None:
        """Try until a frame comes (a server that accepts and stays silent is not back yet)."""
        pause = RETRY_FIRST
        while not self._stop.wait(pause):
            capture = self._open()
            if capture is not None:
                good, image = capture.read()
                if good:
                    self._put(image)
                    return capture
                capture.release()
            pause = min(pause * RETRY_FACTOR, RETRY_MAX)
        return None


@contextlib.contextmanager
def _rtsp_options() -> Iterator[None]:
    """TCP and no buffering, unless the user has options of their own; for RTSP alone."""
    own = OPTIONS in os.environ
    os.environ.setdefault(OPTIONS, RTSP_OPTIONS)
    try:
        yield
    finally:
        if not own:
            del os.environ[OPTIONS]
