"""The local list of detections."""

import json
from pathlib import Path

from device.history import History


def line(number: int) -> bytes:
    return json.dumps({"number": number}).encode()


def test_newest_first(tmp_path: Path) -> None:
    history = History(tmp_path / "new" / "h.jsonl")
    for number in range(5):
        assert history.add(line(number))

    assert [entry["number"] for entry in history.last(3)] == [4, 3, 2]
    assert len(history.last(99)) == 5


def test_nothing_yet(tmp_path: Path) -> None:
    assert History(tmp_path / "h.jsonl").last(3) == []


def test_half_a_line_from_a_power_cut_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    path.write_bytes(line(0) + b"\n" + line(1)[:5])
    history = History(path)

    history.add(line(2))

    assert [entry["number"] for entry in history.last(9)] == [2, 0]


def test_size_stays_bounded_and_the_newest_stay(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    history = History(path, max_bytes=500)
    for number in range(200):
        history.add(line(number))
        assert path.stat().st_size <= 500
        assert history.last(1) == [{"number": number}]
    assert len(history.last(999)) > 10


def test_broken_disk_is_survived(tmp_path: Path) -> None:
    assert not History(tmp_path).add(line(0))  # a folder, not a file
