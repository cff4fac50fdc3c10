"""Drawn feeders: a textured background, sensor noise, discs for birds; known to the pixel."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from device.frames import Frame
from device.images import Box, Image

WIDTH, HEIGHT, RADIUS = 320, 240, 20
RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)  # BGR


class Feeder:
    """Pictures of one empty place, different only in noise."""

    def __init__(self, seed: int = 0, darkest: int = 90, brightest: int = 160) -> None:
        self._random = np.random.default_rng(seed)
        coarse = self._random.integers(darkest, brightest, (12, 16), np.uint8)
        grey = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        self.background: Image = np.repeat(grey[..., None], 3, 2)

    def picture(self, *birds: tuple[int, int, tuple[int, int, int]], light: float = 1.0) -> Image:
        """Birds are (x, y, colour), `light` is a factor."""
        image = self.background.astype(np.float32)
        for x, y, colour in birds:
            cv2.circle(image, (x, y), RADIUS, colour, -1)
        noise = self._random.normal(0, 2, (HEIGHT, WIDTH, 1))
        return np.asarray(np.clip(image * light + noise, 0, 255), np.uint8)


def disc_box(x: int, y: int) -> Box:
    """Where the bird is."""
    return Box(x - RADIUS, y - RADIUS, x + RADIUS + 1, y + RADIUS + 1)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union, 0…1."""
    shared = one.shared(other)
    return shared / (one.area + other.area - shared)


def frame(image: Image, time: float) -> Frame:
    """A frame at a time in seconds."""
    return Frame(image, time, 1_700_000_000 + time, round(time * 10))


def write_video(path: Path, pictures: Iterable[Image], rate: float = 10) -> Path:
    """A Motion JPEG file."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path
