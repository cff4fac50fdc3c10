"""CIFAR-10 and sets like it in npz shards: thousands of small images in a few files.

A shard holds `blob` (uint8, the encoded images one after another), `offsets` (their starts, and
the end of the last), `labels` (class numbers) and `names` (the class of every number). A recipe
names all shards of a split by a pattern: "cifar10/cifar10_train_*.npz".
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from compress.npz import UNREADABLE
from device.errors import BadInputError

FORM = "npz shards with blob, offsets, labels and names"
KEYS = ("blob", "offsets", "labels", "names")


def shards(pattern: Path) -> list[Path]:
    """Files that a pattern such as folder/cifar10_train_*.npz names, in order.

    Raises:
        BadInputError: there is none.
    """
    found = sorted(pattern.parent.glob(pattern.name))
    if not found:
        raise BadInputError(f"{pattern}: no such file: expected {FORM}")
    return found


def class_names(pattern: Path) -> tuple[str, ...]:
    """The classes of a split, by number.

    Raises:
        BadInputError: no shard, a broken one, or shards that do not agree.
    """
    found = {tuple(str(name) for name in _load(path)["names"]) for path in shards(pattern)}
    if len(found) > 1:
        raise BadInputError(f"{pattern}: the shards do not name the same classes")
    return found.pop()


def read(pattern: Path) -> Iterator[tuple[str, Path, bytes]]:
    """(class, where, encoded image) of every image; `where` is shard/number.

    Raises:
        BadInputError: no shard, or a broken one.
    """
    for path in shards(pattern):
        shard = _load(path)
        blob, offsets, labels = shard["blob"].tobytes(), shard["offsets"], shard["labels"]
        names = [str(name) for name in shard["names"]]
        fits = (
            len(offsets) == len(labels) + 1
            and (np.diff(offsets) > 0).all()
            and offsets[0] >= 0
            and offsets[-1] <= len(blob)
            and (len(labels) == 0 or 0 <= labels.min() <= labels.max() < len(names))
        )
        if not fits:
            raise BadInputError(f"{path}: blob, offsets, labels and names do not fit together")
        for index, label in enumerate(labels):
            content = blob[int(offsets[index]) : int(offsets[index + 1])]
            yield names[int(label)], path / str(index), content


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in KEYS}
    except UNREADABLE as error:
        raise BadInputError(f"{path}: not readable as {FORM}: {error}") from error
