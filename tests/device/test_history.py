"""The local list of detections."""

import json
from pathlib import Path

import pytest

from device.history import History

SHOWN = {"Date": "2026-05-01", "Time": "06:00:00", "Confidence": 0.9, "CommonName": "Dunnock"}


def line(number: int) -> bytes:
    return json.dumps({**SHOWN, "number": number}).encode()


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


@pytest.mark.parametrize(
    "broken",
    [
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"\xff\xfe",
        *(json.dumps({**SHOWN, key: None}).encode() for key in SHOWN),
        json.dumps({**SHOWN, "Confidence": "high"}).encode(),
        json.dumps({**SHOWN, "Confidence": True}).encode(),
    ],
)
def test_what_is_no_detection_costs_only_itself(tmp_path: Path, broken: bytes) -> None:
    history = History(tmp_path / "h.jsonl")
    for written in (line(0), broken, line(1)):
        history.add(written)

    assert [entry["number"] for entry in history.last(2)] == [1, 0]


def test_size_stays_bounded_and_the_newest_stay(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    history = History(path, max_bytes=5000)
    for number in range(200):
        history.add(line(number))
        assert path.stat().st_size <= 5000
        assert [entry["number"] for entry in history.last(1)] == [number]
    assert len(history.last(999)) > 10


def test_broken_disk_is_survived(tmp_path: Path) -> None:
    assert not History(tmp_path).add(line(0))  # a folder, not a file
