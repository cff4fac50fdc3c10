"""Tensors in files: a stage's weights, a training's state."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from device import files


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the file's content as one step.

    Raises:
        OSError: it cannot be written.
    """
    content = io.BytesIO()  # torch's writer says of a full disk neither which file nor why
    torch.save(dict(state), content)
    with files.replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())
