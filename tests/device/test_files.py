"""Whole files or none, and whose name is said where one cannot be written."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device import files
from tests.full_disk import room


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.json"
    files.write_bytes(target, b"first")
    with pytest.raises(RuntimeError), files.replacing(target) as temporary:
        temporary.write_bytes(b"half of the sec")
        raise RuntimeError
    assert target.read_bytes() == b"first"
    files.write_bytes(target, b"second")
    assert target.read_bytes() == b"second"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_names_the_target(tmp_path: Path) -> None:
    """Nobody knows the temporary file's name, and it is gone."""
    folder = tmp_path / "there"
    folder.mkdir()
    with pytest.raises(IsADirectoryError) as raised:
        files.write_bytes(folder, b"content")
    assert str(raised.value) == f"[Errno 21] Is a directory: '{folder}'"
    assert list(tmp_path.iterdir()) == [folder]


def test_an_error_before_anything_is_written_names_the_target(tmp_path: Path) -> None:
    """A name that fits the folder, but not with what makes a temporary name of it."""
    target = tmp_path / ("a" * 250)
    for write in (files.write_bytes, files.write_once):
        with pytest.raises(OSError, match="too long") as raised:
            write(target, b"content")
        assert raised.value.filename == str(target)


def test_a_full_disk_names_the_target(tmp_path: Path) -> None:
    target = tmp_path / "a"
    for write in (files.write_bytes, files.write_once):
        with pytest.raises(OSError, match="too large") as raised, room(1000):
            write(target, bytes(10_000))
        assert raised.value.filename == str(target)
        assert not list(tmp_path.iterdir())


def test_an_error_of_another_file_names_that(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError) as raised,
        files.replacing(tmp_path / "a") as temporary,
    ):
        temporary.write_bytes((tmp_path / "none").read_bytes())
    assert str(raised.value.filename) == str(tmp_path / "none")


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    real, link = tmp_path / "folder" / "real", tmp_path / "link"
    real.parent.mkdir()
    real.write_bytes(b"old")
    link.symlink_to(real)
    files.write_bytes(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert [path.name for path in real.parent.iterdir()] == ["real"]


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o000])
def test_a_new_file_is_as_the_umask_says(tmp_path: Path, mask: int) -> None:
    with _umask(mask):
        files.write_bytes(tmp_path / "a", b"content")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o644, 0o755])
def test_who_may_read_a_file_stays_as_it_was(tmp_path: Path, mode: int) -> None:
    target, link = tmp_path / "a", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(mode)
    link.symlink_to(target)
    for written in (target, link):
        files.write_bytes(written, b"new")
        assert stat.S_IMODE(target.stat().st_mode) == mode


def test_nobody_else_sees_what_becomes_a_private_file(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.touch(0o600)
    with _umask(0), files.replacing(target) as temporary:
        temporary.write_bytes(b"secret")
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600


def test_what_is_written_once_is_its_owners(tmp_path: Path) -> None:
    with _umask(0):
        files.write_once(tmp_path / "a", b"key")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
