"""This machine's own key: made once, whole, whoever else makes it at the same time."""

import base64
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device import files, signing
from device.errors import BadInputError

RUNS = 16


def is_trusted(key: Ed25519PrivateKey, folder: Path) -> bool:
    return signing.is_trusted(b"x", key.sign(b"x"), signing.trusted_keys([folder]))


def test_the_key_is_made_once_and_its_public_half_is_trusted(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    key = signing.own_key(folder)
    assert signing.own_key(folder).private_bytes_raw() == key.private_bytes_raw()
    assert is_trusted(key, folder)
    assert stat.S_IMODE((folder / "signing.key").stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["signing.key", "signing.pub"]


def test_runs_that_start_together_sign_with_one_key(tmp_path: Path) -> None:
    together = threading.Barrier(RUNS)

    def first_run(_: int) -> bytes:
        together.wait()
        return signing.own_key(tmp_path / "keys").private_bytes_raw()

    with ThreadPoolExecutor(RUNS) as pool:
        keys = set(pool.map(first_run, range(RUNS)))
    assert len(keys) == 1
    assert is_trusted(signing.own_key(tmp_path / "keys"), tmp_path / "keys")


def test_a_file_is_written_once(tmp_path: Path) -> None:
    files.write_once(tmp_path / "a", b"first")
    files.write_once(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("public", [None, "", base64.b64encode(bytes(32)).decode()])
def test_a_public_half_that_is_missing_or_wrong_is_written_again(
    tmp_path: Path, public: str | None
) -> None:
    key = signing.own_key(tmp_path)
    (tmp_path / "signing.pub").unlink()
    if public is not None:
        (tmp_path / "signing.pub").write_text(public)
    assert signing.own_key(tmp_path).private_bytes_raw() == key.private_bytes_raw()
    assert is_trusted(key, tmp_path)


@pytest.mark.parametrize("content", [b"", b"AAAA\n", b"not base64!", b"\xff\xfe"])
def test_a_damaged_key_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "signing.key"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"signing\.key: not an Ed25519 .*delete it"):
        signing.own_key(tmp_path)
    assert path.read_bytes() == content
