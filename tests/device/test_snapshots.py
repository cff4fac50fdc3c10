"""The folder never grows beyond its cap, whatever lies in it."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.snapshots import Snapshots


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_oldest_go_first(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, 100)
    for age, name in enumerate(("c", "a", "b")):  # not in the order of their names
        assert snapshots.keep(name, bytes(40)) == tmp_path / name
        os.utime(tmp_path / name, (1000 + age, 1000 + age))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert (snapshots.counters.kept, snapshots.counters.removed) == (3, 1)


def test_foreign_and_unfinished_files_count_and_go(tmp_path: Path) -> None:
    for name in ("nan-NaNp.jpg", ".x.jpg.k3j2", "Ünlesbar \n.jpg"):
        (tmp_path / name).write_bytes(bytes(30))
        os.utime(tmp_path / name, (1000, 1000))

    Snapshots(tmp_path, 100).keep("new", bytes(95))

    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_larger_than_the_cap_is_refused(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, 100)

    assert snapshots.keep("large", bytes(101)) is None
    assert snapshots.counters.refused == 1
    assert list(tmp_path.iterdir()) == []


def test_broken_disk_is_counted_and_survived(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"not a folder")
    snapshots = Snapshots(blocked / "snapshots", 100)

    assert snapshots.keep("x", b"x") is None
    assert snapshots.counters.refused == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=25), st.integers(0, 1000))
def test_never_above_the_cap(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], cap: int
) -> None:
    folder = tmp_path_factory.mktemp("snapshots")
    snapshots = Snapshots(folder, cap)
    for number, size in enumerate(sizes):
        snapshots.keep(f"{number}", bytes(size))
        assert size_of(folder) <= cap
    counters = snapshots.counters
    assert counters.kept + counters.refused == len(sizes)
    assert len(list(folder.iterdir())) == counters.kept - counters.removed
