"""Pictures as a network reads them: normalised, mixed, and made up."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress import images
from models.efficientnet_lite import MEAN, STD

MOSAICS = (2, 5, 9, 14)  # tiles a side of the golden pictures


def mixed(pixels: Tensor, share: Tensor) -> Tensor:
    """Each picture with another of the batch; share [batch, 1, 1, 1] is its own part."""
    return share * pixels + (1 - share) * pixels.flip(0)


def normalised(views: list[images.Image], side: int | None = None) -> Tensor:
    """[batch, 3, H, W], channels last in memory; made square with `side` if that is given."""
    if side is not None:
        views = [images.resize(one, side, side) for one in views]
    pixels = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)
    return (pixels.float() - MEAN) / STD


def mosaics(size: int) -> Iterator[NDArray[np.float32]]:
    """Pictures of random colours for the golden vectors: a bundle holds nobody's photo."""
    random = np.random.default_rng(0)
    for tiles in MOSAICS:
        colours = random.integers(0, 256, (tiles, tiles, 3), np.uint8)
        picture = colours[np.arange(size) * tiles // size][:, np.arange(size) * tiles // size]
        yield normalised([picture]).permute(0, 2, 3, 1).contiguous().numpy()
