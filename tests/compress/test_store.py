"""A stage's folder whose files somebody damaged."""

from pathlib import Path

import pytest

from compress import store
from device.errors import BadInputError


def test_a_damaged_key_is_another_key(tmp_path: Path) -> None:
    (tmp_path / store.KEY).write_bytes(b"\xff\xfe")
    (tmp_path / store.CHECKPOINT).write_bytes(b"")
    place = store.Place(tmp_path, "own")
    place.begin()
    assert (tmp_path / store.KEY).read_text() == "own" and not place.checkpoint.exists()


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / store.STATE).write_bytes(b"damaged")
    with pytest.raises(BadInputError, match=r"state\.pt: damaged"):
        store.Place(tmp_path, "own").state()
