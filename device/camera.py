"""Any camera or recording by one string: which kind it is, and the source of frames for it."""

import os
import re
from pathlib import Path

import cv2

from device.errors import BadInputError
from device.frames import Camera
from device.live_camera import LiveCamera
from device.recording import Recording

HOST = re.compile(r"([^:]*|\[.*\])(:\d*)?")  # a name, or an IPv6 address, and perhaps a port


def connect(
    source: str,
    *,
    open_timeout: float = 5.0,
    read_timeout: float = 5.0,
    pace: bool = True,
    max_fps: float = float("inf"),
) -> Camera:
    """Open a source.

    Args:
        source: a video file, a folder of pictures (by name), rtsp://…, http(s)://… (MJPEG),
            /dev/videoN or a camera number.
        open_timeout, read_timeout: seconds, for live sources.
        pace: play a recording at its own speed, leaving out frames when late; without it every
            frame is delivered as fast as it is read.
        max_fps: frames per second of the source's time; more are dropped and counted.
    Raises:
        BadInputError: no such file, device or address, or it gives no picture.
    """
    silence()
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise BadInputError(f"{source}: no UTF-8, which messages need: rename it") from error
    if is_live(source):
        return LiveCamera(source, public(source), open_timeout, read_timeout, max_fps)
    return Recording(source, pace, max_fps)


def is_live(source: str) -> bool:
    """Whether the source is a device or a stream rather than a recording."""
    return "://" in source or bool(re.match(r"/dev/|\d+$", source))


def kind(source: str) -> str:
    """What sort of source it is: "rtsp", "http", "v4l2", "folder" or "file"."""
    scheme, separator, _ = source.partition("://")
    if separator:
        return scheme.rstrip("s") if scheme.startswith("http") else "rtsp"
    if is_live(source):
        return "v4l2"
    return "folder" if Path(source).is_dir() else "file"


def public(source: str) -> str:
    """The source without user name, password and query, for messages."""
    scheme, separator, rest = source.partition("://")
    if not separator:
        return source
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    host = authority.rpartition("@")[2]
    if not HOST.fullmatch(host):  # the beginning of a password that is not escaped
        return f"{scheme}://…"
    # some cameras are logged in to by ?user=…&pwd=…, some by a path like /user=…_password=…
    path = re.split(r"[?#]|/[^/?#]*=", rest.removeprefix(authority), maxsplit=1)[0]
    return f"{scheme}://{host}{path}"


def silence() -> None:
    """OpenCV and its FFmpeg repeat on stderr what we report."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read at the first open
