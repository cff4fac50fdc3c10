"""Recordings as cameras: their own clock, their order, what cannot be opened."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from device import camera, images
from device.errors import BadInputError
from device.frames import State
from tests.numbered import number_of, numbered
from tests.scenes import write_video

LIMIT = 60.0  # seconds; generous: nothing here depends on being quick


@pytest.fixture
def recording(tmp_path: Path) -> str:
    """40 numbered frames at 20 per second."""
    return str(write_video(tmp_path / "a.avi", (numbered(k) for k in range(40)), rate=20))


def test_unpaced_recording_gives_every_frame_in_order(recording: str) -> None:
    with camera.connect(recording, pace=False) as eye:
        frames = list(eye)

    assert [number_of(frame.image) for frame in frames] == list(range(40))
    assert [frame.index for frame in frames] == list(range(40))
    steps = np.diff([frame.time for frame in frames])
    np.testing.assert_allclose(steps, 0.05, atol=1e-6)
    np.testing.assert_allclose(np.diff([frame.wall for frame in frames]), 0.05, atol=1e-5)
    assert eye.state is State.ENDED
    assert (eye.counters.grabbed, eye.counters.dropped) == (40, 0)
    assert eye.read(1.0) is None


@pytest.mark.parametrize(("max_fps", "count"), [(20, 40), (10, 20), (8, 16), (1, 2), (100, 40)])
def test_frame_rate_is_limited_on_the_recordings_own_clock(
    recording: str, max_fps: float, count: int
) -> None:
    with camera.connect(recording, pace=False, max_fps=max_fps) as eye:
        frames = list(eye)

    assert len(frames) == count
    assert eye.counters.dropped == 40 - count
    assert frames[-1].index >= 20


def test_paced_recording_gives_no_frame_before_its_time(recording: str) -> None:
    with camera.connect(recording) as eye:
        for frame in eye:
            assert time.monotonic() >= frame.time - 1e-3
    assert eye.counters.grabbed == 40


def test_paced_recording_leaves_out_what_a_slow_reader_missed(recording: str) -> None:
    with camera.connect(recording) as eye:
        seen = []
        for frame in eye:
            seen.append(frame.index)
            time.sleep(0.2)  # four frames long

    assert seen == sorted(set(seen))
    assert len(seen) + eye.counters.dropped == 40
    assert eye.counters.dropped > 10


def test_far_too_slow_reader_still_sees_something(recording: str) -> None:
    """A machine that cannot keep up gets frames late rather than none."""
    with camera.connect(recording) as eye:
        first = eye.read(LIMIT)
        time.sleep(1.5)  # longer than it may lag
        second = eye.read(LIMIT)

    assert first is not None and second is not None
    assert second.index > first.index


def test_paced_recording_returns_when_no_frame_is_due(tmp_path: Path) -> None:
    slow = write_video(tmp_path / "slow.avi", [numbered(1), numbered(2)], rate=1)
    with camera.connect(str(slow)) as eye:
        assert eye.read(0.01) is not None
        assert eye.read(0.01) is None
        assert eye.state is State.READING


def test_folder_of_pictures_plays_by_name(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        (tmp_path / f"{number}.jpg").write_bytes(images.jpeg(numbered(number)))
    (tmp_path / "1b.jpg").write_bytes(b"damaged")
    (tmp_path / "notes.txt").write_text("not a picture")

    with camera.connect(str(tmp_path), pace=False) as eye:
        frames = list(eye)

    assert [number_of(frame.image) for frame in frames] == [0, 1, 2]
    np.testing.assert_allclose(np.diff([frame.time for frame in frames]), 0.1, atol=1e-6)


# --- what cannot be opened ---


@pytest.mark.parametrize(
    "source",
    [
        "nowhere.mp4",
        "damaged.mp4",
        "empty",
        "63",
        "/dev/video63",
        "http://u:secret@127.0.0.1:9/",
        "HTTP://u:secret@127.0.0.1:9/",
        "gopher://u:secret@127.0.0.1:9/",
    ],
)
def test_source_that_cannot_be_opened_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.mp4").write_bytes(b"\0\0\0\x18ftypmp42" * 50)
    (tmp_path / "empty").mkdir()

    with pytest.raises(BadInputError) as caught:
        camera.connect(source, open_timeout=2, read_timeout=2)

    message = str(caught.value)
    assert camera.public(source) in message
    assert "secret" not in message and "\n" not in message


@pytest.mark.parametrize(
    ("source", "kind", "live"),
    [
        ("rtsp://cam/1", "rtsp", True),
        ("rtsps://cam/1", "rtsp", True),
        ("https://cam/1", "http", True),
        ("http://cam/1", "http", True),
        ("/dev/video0", "v4l2", True),
        ("rtmp://cam/1", "rtsp", True),
        ("2", "v4l2", True),
        ("2.mp4", "file", False),
        (".", "folder", False),
    ],
)
def test_kinds_of_source(source: str, kind: str, live: bool) -> None:
    assert camera.kind(source) == kind
    assert camera.is_live(source) is live


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://admin:p@ss@cam/s", "rtsp://cam/s"),
        ("rtsp://admin:secret@cam:554/s", "rtsp://cam:554/s"),
        ("rtsp://admin@[fe80::1]:554/s", "rtsp://[fe80::1]:554/s"),
        ("http://h/videostream.cgi?user=admin&pwd=secret", "http://h/videostream.cgi"),
        ("http://h/v.cgi?user=me@home&pwd=a/secret@b#c", "http://h/v.cgi"),
        ("http://h?pwd=secret", "http://h"),
        ("http://h/v#secret", "http://h/v"),
        ("rtsp://cam:554/user=admin_password=secret_channel=1", "rtsp://cam:554"),
        # not escaped, so that the password looks like a port and the rest like a path
        ("rtsp://admin:secret/s@cam/s", "rtsp://…"),
        ("rtsp://admin:secret?s@cam/s", "rtsp://…"),
        ("rtsp://cam/live@main", "rtsp://cam/live@main"),
        ("feeder #2 a=b?.mp4", "feeder #2 a=b?.mp4"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_credentials_are_not_shown(source: str, shown: str) -> None:
    assert camera.public(source) == shown


NOT_UTF_8 = """
import sys
from device import camera
from device.errors import BadInputError

try:
    with camera.connect(sys.argv[1], pace=False) as eye:
        print(len(list(eye)), "frames")
except BadInputError as error:
    print(ascii(str(error)))
"""


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    """In a process of its own: OpenCV crashes on them."""

    def played(source: Path) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", NOT_UTF_8, source], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout

    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / name).write_bytes(images.jpeg(numbered(1)))
    assert played(tmp_path) == (0, "1 frames\n")
    code, told = played(tmp_path / name)
    assert code == 0 and "no UTF-8" in told
