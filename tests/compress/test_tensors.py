"""Tensors are written whole, or the user is told which file has no room."""

import resource
from pathlib import Path

import pytest
import torch

from compress import tensors


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    path, old = tmp_path / "stage" / "state.pt", {"a": torch.ones(3), "b": [1, "two"]}
    tensors.save(path, old)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as raised:
            tensors.save(path, {"a": torch.ones(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.filename == str(path)
    assert list(path.parent.iterdir()) == [path]
    assert torch.equal(torch.load(path, weights_only=True)["a"], old["a"])
