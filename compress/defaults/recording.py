"""A recording of one zebra finch in a cage, cut by time: training, test, and the demo's video.

The bird is found as what differs from the empty cage (the median over the recording). Crops are
made at the demo's resolution, so that training sees the bird as the device will: some 25 pixels.
"""

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from compress.defaults.packages import Package
from compress.defaults.pixels import Image
from device.errors import BadInputError

PACKAGE = Package("birdwatcher", "PyPI", "BSD-3-Clause", version="0.5.0")
PACKAGE_FOLDER = "birdwatcher/testvideos"
WIDTH, HEIGHT = 640, 360
# Shares of the recording. The gap keeps near-identical neighbours of training frames out of test.
TRAIN, TEST, DEMO = (0.0, 0.36), (0.40, 0.5), (0.5, 1.0)
PLATE_STEP = 10  # every tenth frame is enough for a median
CHANGED = 60  # sum over the three channels, of 765
SMALLEST_BIRD = 80  # pixels of area


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int

    def overlaps(self, other: "Box") -> bool:
        """Whether the two share a pixel."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.top < other.top + other.height
            and other.top < self.top + self.height
        )


@dataclass(frozen=True)
class Video:
    """A decoded video, BGR, 640×360."""

    images: list[Image]
    rate: Fraction  # frames per second

    def part(self, share: tuple[float, float]) -> list[Image]:
        """The frames between two shares (0…1) of the whole."""
        return self.images[int(share[0] * len(self.images)) : int(share[1] * len(self.images))]


@dataclass(frozen=True)
class Sighting:
    """One frame and where the bird is in it."""

    image: Image
    bird: Box


@dataclass(frozen=True)
class Recording:
    """Frames with the bird found, by split."""

    train: list[Sighting]
    test: list[Sighting]


def decode(content: bytes) -> Video:
    """All frames of an encoded video, resized to the demo's size.

    Raises BadInputError if it cannot be decoded.
    """
    images = []
    try:
        with av.open(io.BytesIO(content), "r") as container:
            rate = container.streams.video[0].average_rate
            for frame in container.decode(video=0):
                full = frame.to_ndarray(format="bgr24")
                small = cv2.resize(full, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
                images.append(np.asarray(small, np.uint8))
    except (av.FFmpegError, IndexError) as error:
        raise BadInputError(
            f"the zebra finch video cannot be decoded ({error}); remove the cached {PACKAGE.name} "
            "package and try again"
        ) from None
    return Video(images, Fraction(rate or 25))


def find_bird(video: Video) -> Recording:
    """Find the bird in the training and the test share of the video."""
    plate = np.median(np.stack(video.images[::PLATE_STEP]), axis=0).astype(np.int16)

    def sightings(share: tuple[float, float]) -> list[Sighting]:
        found = ((image, _find(image, plate)) for image in video.part(share))
        return [Sighting(image, bird) for image, bird in found if bird is not None]

    return Recording(sightings(TRAIN), sightings(TEST))


def _find(image: Image, plate: NDArray[np.int16]) -> Box | None:
    """The largest part of the image that differs from the empty cage."""
    changed = (np.abs(image.astype(np.int16) - plate).sum(axis=2) > CHANGED).astype(np.uint8)
    joined = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    opened = cv2.morphologyEx(joined, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, _, parts, _ = cv2.connectedComponentsWithStats(opened)
    if len(parts) < 2:
        return None
    left, top, width, height, area = (
        int(v) for v in parts[1:][parts[1:, cv2.CC_STAT_AREA].argmax()]
    )
    return Box(left, top, width, height) if area >= SMALLEST_BIRD else None


def write_demo(video: Video, path: Path) -> int:
    """Write the demo's share as H.264 in MP4; return its number of frames."""
    images = video.part(DEMO)
    with av.open(str(path), "w", format="mp4") as container:
        # one thread: the encoder's choices, and so the bytes, depend on the number of threads
        stream = container.add_stream(
            "libx264", rate=video.rate, options={"crf": "16", "threads": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return len(images)
