"""Random views of a photo for training: crop, mirror, colour, the blur of a small region, cutout.

T. DeVries, G. Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
arXiv:1708.04552: a grey square whose centre lies in the view; its edges may not.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from compress.images import Image, resize
from compress.intervals import CountRange, ShareRange
from device.manifest import Frozen

GREY = (127, 127, 127)  # zero after normalisation
USUAL = 2.0  # views a photo is wide in memory, where no crop is small
MOST = 4.0  # the same at most: memory holds all photos
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Augment(Frozen):
    """How far a view may differ from its photo. Zero switches a change off; area 1 is all of it."""

    area: ShareRange = Field(
        (0.4, 1.0), description="share of the photo's area; below .25 photos take more memory"
    )
    aspect: float = Field(
        1.33,
        ge=0,
        allow_inf_nan=False,
        description="largest stretch of width against height, either way",
    )
    mirror: float = Field(0.5, ge=0, le=1, description="probability")
    colour: float = Field(
        0.3, ge=0, le=1, description="brightness, contrast, saturation: factors 1 ± this"
    )
    coarse: float = Field(
        0.1,
        ge=0,
        le=1,
        description="probability of a view that was only `coarse_side` pixels wide",
    )
    coarse_side: CountRange = (24, 96)
    cutout: int = Field(0, ge=0, description="side of a grey square at a random place, pixels")


class Shift(Frozen):
    """For images that are small already: shifted over a grey border, and mirrored.

    K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
    """

    pad: int = Field(gt=0, description="largest shift, pixels of the view")
    mirror: float = Field(0.5, ge=0, le=1, description="probability")
    cutout: int = Field(0, ge=0, description="side of a grey square at a random place, pixels")


def wide(options: Augment | Shift) -> float:
    """How many views a photo's longer side is to be wide, so that the smallest crop is as sharp as
    the photo was: USUAL for all but small crops."""
    least = options.area[0] if isinstance(options, Augment) else 1.0
    return min(MOST, max(USUAL, 1 / math.sqrt(least)))


def view(
    image: Image, side: int, options: Augment | Shift, generator: np.random.Generator
) -> Image:
    """A random square view [side, side, 3] of a photo."""
    if isinstance(options, Shift):
        result = _shifted(resize(image, side, side), options, generator)
    else:
        result = _cropped(image, side, options, generator)
    return _cut(result, options.cutout, generator) if options.cutout else result


def _cropped(image: Image, side: int, options: Augment, generator: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    area = generator.uniform(*options.area) * height * width
    stretch = math.exp(generator.uniform(-1, 1) * math.log(options.aspect or 1))
    rows = min(height, max(1, round(math.sqrt(area / stretch * height / width))))
    columns = min(width, max(1, round(math.sqrt(area * stretch * width / height))))
    top = int(generator.integers(0, height - rows + 1))
    left = int(generator.integers(0, width - columns + 1))
    part = image[top : top + rows, left : left + columns]
    if generator.random() < options.coarse:
        low, high = options.coarse_side
        coarse = int(generator.integers(low, high + 1))
        if coarse < min(rows, columns):
            part = resize(part, coarse, coarse)
    result = resize(part, side, side)
    if generator.random() < options.mirror:
        result = cv2.flip(result, 1).astype(np.uint8, copy=False)
    return _colour(result, options.colour, generator) if options.colour else result


def _shifted(image: Image, options: Shift, generator: np.random.Generator) -> Image:
    side, pad = len(image), options.pad
    wide = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=GREY)
    top, left = (int(offset) for offset in generator.integers(0, 2 * pad + 1, 2))
    result = wide[top : top + side, left : left + side]
    if generator.random() < options.mirror:
        result = cv2.flip(result, 1)
    return np.array(result, np.uint8)


def _cut(image: Image, width: int, generator: np.random.Generator) -> Image:
    """A copy with a grey square of that width."""
    result = image.copy()
    start = generator.integers(0, len(image), 2) - width // 2
    top, left = np.maximum(start, 0)
    bottom, right = start + width
    result[top:bottom, left:right] = GREY
    return result


def _colour(image: Image, amount: float, generator: np.random.Generator) -> Image:
    brightness, contrast, saturation = 1 + generator.uniform(-amount, amount, 3)
    # all three are one affine map of a pixel: pixel → pixel · matrix + offset
    grey = np.outer(LUMA, np.ones(3, np.float32))
    matrix: NDArray[np.float32] = (
        brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * grey)
    ).astype(np.float32)
    offset = brightness * (1 - contrast) * float(image.mean())
    shifted = cv2.transform(image, np.column_stack((matrix.T, np.full(3, offset))))
    return np.asarray(shifted, np.uint8)
