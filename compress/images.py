"""Photos in folders named after their class, decoded once, augmented per epoch.

Standard form (ImageFolder): `train/<class>/*.jpg`, optionally `test/<class>/*.jpg`. The
validation split is cut from the training images by seed, class by class.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from compress import cifar
from device.errors import BadInputError

Image = NDArray[np.uint8]  # [height, width, 3], RGB
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SHARDS = ".npz"  # a source with this suffix is a pattern of shards (compress/cifar.py)
JPEG = b"\xff\xd8"  # has no alpha: need not be decoded twice to see
FORM = "one sub-folder of photos per class"


@dataclass(frozen=True)
class Photos:
    """Decoded photos of one split; `labels[i]` indexes the class of `images[i]`."""

    images: tuple[Image, ...]
    labels: NDArray[np.int64]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> "Photos":
        """Some of the photos."""
        chosen = np.asarray(indices, np.int64)
        return Photos(tuple(self.images[i] for i in chosen), self.labels[chosen], self.fingerprint)


def class_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """The classes of one or more folders, sorted.

    Raises:
        BadInputError: not a folder, or fewer than two classes.
    """
    names: set[str] = set()
    for folder in folders:
        if folder.suffix == SHARDS:
            names |= set(cifar.class_names(folder))
            continue
        if not folder.is_dir():
            raise BadInputError(f"{folder}: no such folder: expected {FORM}")
        names |= {part.name for part in folder.iterdir() if part.is_dir()}
    if len(names) < 2:
        where = ", ".join(map(str, folders))
        raise BadInputError(f"{where}: found {len(names)} classes, need 2: expected {FORM}")
    return tuple(sorted(names))


def read(folders: Sequence[Path], classes: tuple[str, ...], largest: int) -> Photos:
    """Decode every photo of the given classes; sides beyond `largest` pixels are halved away.

    Raises:
        BadInputError: a file that is no readable image, or a class of the folders that is not
            in `classes`, or a class without an image (only where `folders` hold its folder), or
            a folder without any class: scores of no photos would fail after all training.
    """
    images: list[Image] = []
    labels: list[int] = []
    digest = hashlib.sha256()
    for folder in folders:
        packed, before = folder.suffix == SHARDS, len(images)
        contents = cifar.read(folder) if packed else _files(folder)
        for name, path, content in contents:
            if name not in classes:
                raise BadInputError(f"{path.parent}: a class that the training data does not have")
            digest.update(f"{name}/{path.name}\0".encode())
            digest.update(hashlib.sha256(content).digest())
            images.append(_decode(path, content, largest))
            labels.append(classes.index(name))
        if len(images) == before:
            form = cifar.FORM if packed else FORM
            raise BadInputError(f"{folder}: no photo of any class in it: expected {form}")
    return Photos(tuple(images), np.array(labels, np.int64), digest.hexdigest())


def _files(folder: Path) -> Iterator[tuple[str, Path, bytes]]:
    """(class, file, content) of every photo of an ImageFolder."""
    if not folder.is_dir():
        raise BadInputError(f"{folder}: no such folder: expected {FORM}")
    loose = sum(p.is_file() and p.suffix.lower() in SUFFIXES for p in folder.iterdir())
    if loose:
        print(f"{folder}: left out, since beside the class folders: {loose} photos")
    for part in sorted(p for p in folder.iterdir() if p.is_dir()):
        paths = sorted(p for p in part.iterdir() if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise BadInputError(f"{part}: no image in it ({', '.join(SUFFIXES)})")
        for path in paths:
            yield part.name, path, path.read_bytes()


def split(
    photos: Photos, classes: tuple[str, ...], share: float, seed: int
) -> tuple[Photos, Photos]:
    """(training, validation): `share` of every class, at least one photo, goes to validation.

    Raises:
        BadInputError: a class has fewer than two photos.
    """
    generator = np.random.default_rng(seed)
    kept: list[int] = []
    held: list[int] = []
    for label in np.unique(photos.labels):
        members = generator.permutation(np.flatnonzero(photos.labels == label))
        if len(members) < 2:
            raise BadInputError(
                f"class {classes[label]}: has one photo only: training and validation need one "
                "each: add another, or remove the class"
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        held += members[:count].tolist()
        kept += members[count:].tolist()
    return photos.take(sorted(kept)), photos.take(sorted(held))


def resize(image: Image, height: int, width: int) -> Image:
    """Stretch to height × width, as the device does: area for shrinking, linear for growing."""
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation).astype(
        np.uint8, copy=False
    )


def _over_grey(encoded: Image) -> Image | None:
    """BGR of a picture with alpha, over middle grey as on the device; None if it has none."""
    image: NDArray[Any] | None = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim == 2 or image.shape[2] != 4 or image.dtype.kind != "u":
        return None
    full = float(np.iinfo(image.dtype).max)
    alpha = image[..., 3:].astype(np.float32) / full
    colour = image[..., :3].astype(np.float32) * (255 / full)
    return np.asarray(np.rint(colour * alpha + 128 * (1 - alpha)), np.uint8)


def _decode(path: Path, content: bytes, largest: int) -> Image:
    try:
        encoded = np.frombuffer(content, np.uint8)
        decoded: NDArray[Any] | None = None if content.startswith(JPEG) else _over_grey(encoded)
        if decoded is None:
            decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR_BGR)
    except cv2.error:  # an empty file, or a size beyond OpenCV's limit
        decoded = None
    if decoded is None:
        raise BadInputError(f"{path}: not a readable image")
    image: Image = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    height, width = image.shape[:2]
    factor = largest / max(height, width)
    if factor < 1:
        image = resize(image, max(1, round(height * factor)), max(1, round(width * factor)))
    return image
