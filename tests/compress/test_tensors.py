"""Tensors are written whole, or the user is told which file has no room."""

import re
import resource
from pathlib import Path

import pytest
import torch

from compress import tensors
from device.errors import BadInputError


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


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "state.pt"
    tensors.save(path, {"a": torch.ones(3)})
    path.write_bytes(path.read_bytes()[:kept] if kept >= 0 else b"by hand\n" * 9)
    expected = f"^{re.escape(str(path))}: damaged, or not of this stage: delete it, [^\n]+$"
    with pytest.raises(BadInputError, match=expected), tensors.stored(path):
        pytest.fail("nothing to take up")


def test_what_does_not_fit_is_named_and_what_cannot_be_read_stays_an_os_error(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.pt"
    tensors.save(path, {"a": torch.ones(3)})
    with pytest.raises(BadInputError, match=r"state\.pt: damaged"), tensors.stored(path) as state:
        torch.nn.Linear(2, 2).load_state_dict(state)
    with pytest.raises(FileNotFoundError), tensors.stored(tmp_path / "none.pt"):
        pytest.fail("nothing to take up")
