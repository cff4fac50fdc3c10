"""Pictures as arrays, and the few operations on them that every maker of pictures needs."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # [height, width, BGR]
Cutout = NDArray[np.uint8]  # [height, width, BGRA]
Canvas = NDArray[np.float32]  # [height, width, …], 0…255


def blurred(canvas: Canvas, sigma: float) -> Canvas:
    """Gaussian blur; `sigma` in pixels."""
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), sigma), np.float32)


def enlarged(picture: NDArray[Any], side: int) -> Canvas:
    """Stretched to a square with bilinear interpolation, as the device stretches a region."""
    square = cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(square, np.float32)


def reduced(picture: NDArray[Any], width: int, height: int) -> Canvas:
    """Made smaller by averaging areas, so that nothing aliases."""
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def mirrored(canvas: Canvas, random: np.random.Generator) -> Canvas:
    """Flipped left to right, every other time."""
    return np.ascontiguousarray(canvas[:, ::-1]) if random.random() < 0.5 else canvas


def premultiplied(cutout: Cutout) -> Canvas:
    """BGRA bytes → colours weighted by alpha (0…255) and alpha (0…1): safe to resample."""
    layer = cutout.astype(np.float32)
    layer[..., 3] /= 255
    layer[..., :3] *= layer[..., 3:]
    return layer


def over(canvas: Canvas, layer: Canvas) -> Canvas:
    """Lay a premultiplied layer [height, width, BGRA] over the canvas."""
    return canvas * (1 - layer[..., 3:]) + layer[..., :3]


def mixed(first: Canvas, second: Canvas, share: Canvas) -> Canvas:
    """Two colours or images by the second's share [height, width] in 0…1."""
    return first * (1 - share[..., None]) + second * share[..., None]
