"""Pictures: boxes, the crop a classifier sees, and pixels → tensor."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from device.errors import BadInputError
from device.manifest import ImageInput

Image = NDArray[np.uint8]  # [height, width, 3], BGR
DEPTHS = (np.uint8, np.uint16)  # whose largest number is white


@dataclass(frozen=True)
class Box:
    """Corners in pixels: x0 ≤ x < x1 and y0 ≤ y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Pixels."""
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        """Square pixels."""
        return self.width * self.height

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) in pixels."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def shared(self, other: "Box") -> int:
        """Square pixels that lie in both."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(0, width) * max(0, height)

    def joined(self, other: "Box") -> "Box":
        """The smallest box that holds both."""
        return Box(
            min(self.x0, other.x0),
            min(self.y0, other.y0),
            max(self.x1, other.x1),
            max(self.y1, other.y1),
        )


def square(box: Box, margin: float, width: int, height: int) -> Box:
    """The square of side margin × the box's longer side, about its centre, inside the image.

    At the border it is moved rather than cut, so that the picture is not stretched; only a side
    longer than the image itself is cut. Its size depends on the box alone, not on its place.
    """
    side = max(1, round(margin * max(box.width, box.height)))
    x, y = box.centre
    wide, high = min(side, width), min(side, height)
    x0 = min(max(0, round(x - wide / 2)), width - wide)
    y0 = min(max(0, round(y - high / 2)), height - high)
    return Box(x0, y0, x0 + wide, y0 + high)


def crop(image: Image, box: Box) -> Image:
    """A copy of the box's pixels."""
    return image[box.y0 : box.y1, box.x0 : box.x1].copy()


def preprocess(image: Image, spec: ImageInput) -> NDArray[np.float32]:
    """BGR picture → tensor [1, height, width, 3]: stretched, RGB, (pixel − mean) / std.

    Shrinking averages over area (no aliasing), enlarging is bilinear.
    """
    shrinks = image.shape[0] >= spec.height and image.shape[1] >= spec.width
    resized = cv2.resize(
        image,
        (spec.width, spec.height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    rgb = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.LUT(rgb, _normalised(spec))[np.newaxis], np.float32)


@cache
def _normalised(spec: ImageInput) -> NDArray[np.float32]:
    """What each of a pixel's 256 values becomes [1, 256, 3]: five times as fast as arithmetic."""
    values = np.arange(256, dtype=np.float32)[:, np.newaxis]
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    return np.ascontiguousarray((values - mean) / std)[np.newaxis]


def read(path: Path) -> Image:
    """Decode a picture of any kind to BGR: EXIF orientation applied, grey spread, alpha on grey.

    Raises:
        BadInputError: no such file, not a picture, or pixels without a known white.
    """
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}") from error
    # IMREAD_UNCHANGED keeps alpha but ignores EXIF; photos with EXIF have no alpha
    decoded = _decode(content, cv2.IMREAD_UNCHANGED)
    if decoded is not None and decoded.dtype not in DEPTHS:
        # TIFF and PFM: nobody says which float, or signed number, is white
        raise BadInputError(
            f"{path}: pixels are {decoded.dtype}: save it with 8 or 16 bits a channel"
        )
    if decoded is not None and (decoded.ndim == 2 or decoded.shape[2] != 4):
        decoded = _decode(content, cv2.IMREAD_COLOR)
    if decoded is None:
        raise BadInputError(f"{path}: not a readable picture (JPEG, PNG, WebP, BMP, TIFF …)")
    return _flatten(decoded) if decoded.shape[2] == 4 else np.asarray(decoded, np.uint8)


def _decode(content: NDArray[np.uint8], how: int) -> NDArray[Any] | None:
    """None where it is no picture."""
    if not content.size:
        return None
    try:
        decoded = cv2.imdecode(content, how)
    except cv2.error:
        return None
    return None if decoded is None or 0 in decoded.shape else decoded


def jpeg(image: Image, quality: int = 90) -> bytes:
    """Encode as JPEG."""
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"cannot encode a picture of shape {image.shape}")
    return encoded.tobytes()


def _flatten(image: NDArray[Any]) -> Image:
    """BGRA of unsigned integers → BGR over middle grey."""
    full = float(np.iinfo(image.dtype).max)
    alpha = image[..., 3:].astype(np.float32) / full
    colour = image[..., :3].astype(np.float32) * (255 / full)
    return np.asarray(np.rint(colour * alpha + 128 * (1 - alpha)), np.uint8)
