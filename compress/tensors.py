"""Tensors in files: a stage's weights, a training's state."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from device import files
from device.errors import BadInputError


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the file's content as one step.

    Raises:
        OSError: it cannot be written.
    """
    content = io.BytesIO()  # torch's writer says of a full disk neither which file nor why
    torch.save(dict(state), content)
    with files.replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


@contextmanager
def stored(path: Path) -> Iterator[dict[str, Any]]:
    """What `save` wrote there, on the CPU, to be taken up within the block.

    Hours of work may be in it, so it is for the user to give a damaged one up.

    Raises:
        BadInputError: the file is damaged, or what it holds does not fit what takes it up.
        OSError: it cannot be read.
    """
    try:
        yield torch.load(path, weights_only=True, map_location="cpu")
    except OSError:
        raise
    except Exception as error:  # torch's, of files that are not its own, have no common base
        raise BadInputError(
            f"{path}: damaged, or not of this stage: delete it, and what it held is made again"
        ) from error
