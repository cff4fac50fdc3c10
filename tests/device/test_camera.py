"""Recordings, and a live camera that stalls, dies and comes back: real files, real sockets."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from device import camera, images
from device.errors import BadInputError
from device.frames import Camera, State
from device.images import Image
from tests.http_camera import Server
from tests.scenes import Feeder, write_video

LIMIT = 60.0  # seconds; generous: nothing here depends on being quick


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another thread."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def numbered(number: int) -> Image:
    """A picture that says which one it is, by its brightness."""
    return np.full((240, 320, 3), 10 + 5 * number, np.uint8)


def number_of(image: Image) -> int:
    return round((float(image.mean()) - 10) / 5)


@pytest.fixture
def recording(tmp_path: Path) -> str:
    """40 numbered frames at 20 per second."""
    return str(write_video(tmp_path / "a.avi", (numbered(k) for k in range(40)), rate=20))


# --- recordings ---


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
    ["nowhere.mp4", "damaged.mp4", "empty", "63", "/dev/video63", "http://u:secret@127.0.0.1:9/"],
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
        ("2", "v4l2", True),
        ("2.mp4", "file", False),
        (".", "folder", False),
    ],
)
def test_kinds_of_source(source: str, kind: str, live: bool) -> None:
    assert camera.kind(source) == kind
    assert camera.is_live(source) is live


# --- a live camera over HTTP ---


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(lambda k: numbered(k % 40))
    yield running
    running.close()


def connect(server: Server) -> Camera:
    return camera.connect(server.url, open_timeout=2, read_timeout=1)


def fresh(eye: Camera) -> int:
    """The index of a frame that arrives from now on."""
    eye.read(0)
    frame = eye.read(LIMIT)
    assert frame is not None
    return frame.index


def test_slow_reader_gets_the_newest_frame(server: Server) -> None:
    server.pictures = lambda k: numbered(min(k, 40))
    with connect(server) as eye:
        until(lambda: eye.counters.grabbed > 50)
        frame = eye.read(LIMIT)
        dropped = eye.counters.dropped

    assert frame is not None
    assert number_of(frame.image) == 40  # not the first of a long queue
    assert frame.index >= 50 and dropped >= 50
    assert time.monotonic() - frame.time < LIMIT


def test_live_frames_come_in_order_each_once(server: Server) -> None:
    with connect(server) as eye:
        indices = [frame.index for frame, _ in zip(eye, range(20), strict=False)]

    assert indices == sorted(set(indices))


def test_live_camera_keeps_to_the_frame_rate_asked_for(server: Server) -> None:
    with camera.connect(server.url, max_fps=5) as eye:
        times = [frame.time for frame, _ in zip(eye, range(4), strict=False)]

    assert times[-1] - times[0] > 0.5  # three intervals of 0.2 s, less one frame's time


def test_stalled_camera_is_reopened(server: Server) -> None:
    with connect(server) as eye:
        fresh(eye)
        server.stalled.set()
        until(lambda: eye.state is State.REOPENING)
        assert eye.counters.stalls == 1
        eye.read(0)
        assert eye.read(0.05) is None  # nothing old is given out
        server.stalled.clear()
        fresh(eye)
        until(lambda: eye.state is State.READING)

        assert eye.counters.reopened == 1
        assert server.connections >= 2


def test_camera_that_dies_and_comes_back_is_reopened() -> None:
    first = Server(numbered)
    with connect(first) as eye:
        before = fresh(eye)
        first.close()
        until(lambda: eye.state is State.REOPENING)
        second = Server(numbered, first.port)
        try:
            assert fresh(eye) > before
            until(lambda: eye.counters.reopened == 1)
        finally:
            second.close()


def test_quiet_scene_is_not_a_stall(server: Server) -> None:
    """The same picture for longer than the read time-out."""
    server.pictures = lambda _: numbered(7)
    with connect(server) as eye:
        end = time.monotonic() + 1.5
        until(lambda: time.monotonic() > end)
        fresh(eye)

        assert (eye.counters.stalls, eye.counters.reopened) == (0, 0)
        assert server.connections == 1


def test_camera_that_accepts_and_says_nothing_is_refused(server: Server) -> None:
    server.stalled.set()
    started = time.monotonic()

    with pytest.raises(BadInputError, match="no picture"):
        connect(server)

    assert time.monotonic() - started < LIMIT / 2


def test_close_while_the_camera_is_away_is_bounded(server: Server) -> None:
    eye = connect(server)
    server.stalled.set()
    until(lambda: eye.state is State.REOPENING)
    started = time.monotonic()

    eye.close()

    assert time.monotonic() - started < LIMIT / 2
    assert eye.state is State.ENDED
    assert eye.read(LIMIT) is None


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg to push a stream")
def test_rtsp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV listens, ffmpeg pushes H.264; when ffmpeg is killed and started again, we are back."""
    monkeypatch.setenv(
        "OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_flags;listen|listen_timeout;20|rtsp_transport;tcp"
    )
    feeder = Feeder()
    video = write_video(tmp_path / "a.avi", (feeder.picture() for _ in range(50)), rate=25)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"rtsp://127.0.0.1:{probe.getsockname()[1]}/push"
    command = ["ffmpeg", "-loglevel", "quiet", "-re", "-stream_loop", "-1", "-i", str(video)]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "12"]
    command += ["-pix_fmt", "yuv420p", "-f", "rtsp", "-rtsp_transport", "tcp", url]
    over, pushers = threading.Event(), list[subprocess.Popen[bytes]]()

    def push() -> None:
        """Start ffmpeg as often as it ends: at first nobody listens."""
        while not over.is_set():
            pushers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
            pushers[-1].wait()
            over.wait(0.2)

    thread = threading.Thread(target=push, daemon=True)
    thread.start()
    try:
        with camera.connect(url, open_timeout=20, read_timeout=2) as eye:
            fresh(eye)
            pushers[-1].kill()
            until(lambda: eye.counters.stalls >= 1)
            until(lambda: eye.counters.reopened >= 1)
            fresh(eye)
            over.set()
            pushers[-1].kill()
    finally:
        over.set()
        for pusher in pushers:
            pusher.kill()
        thread.join(LIMIT)


SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
)


def rtsp_transport_asked_for() -> str:
    """What our camera says to an RTSP server in its SETUP request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT)
        asked: list[str] = []

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as stream:
                while head := b"".join(iter(stream.readline, b"\r\n")).decode():
                    sequence = next(x for x in head.splitlines() if x.lower().startswith("cseq"))
                    if head.startswith("SETUP"):
                        asked.append(next(x for x in head.splitlines() if "Transport:" in x))
                        return
                    body = SDP if head.startswith("DESCRIBE") else b""
                    stream.write(f"RTSP/1.0 200 OK\r\n{sequence}\r\n".encode())
                    stream.write(b"Content-Type: application/sdp\r\n" if body else b"")
                    stream.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
                    stream.flush()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(BadInputError):
            camera.connect(
                f"rtsp://127.0.0.1:{listener.getsockname()[1]}/x", open_timeout=5, read_timeout=5
            )
        thread.join(LIMIT)
    return asked[0]


def test_rtsp_is_asked_for_over_tcp_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", raising=False)
    assert "RTP/AVP/TCP" in rtsp_transport_asked_for()
    assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ  # other kinds of source stay as usual

    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;udp")
    assert "RTP/AVP/UDP" in rtsp_transport_asked_for()


def test_opencv_and_ffmpeg_stay_silent(tmp_path: Path) -> None:
    """In a process of its own: both read their log level once."""
    (tmp_path / "damaged.mp4").write_bytes(b"\0\0\0\x18ftypmp42" * 50)
    script = (
        "from device import camera, errors\n"
        f"for source in ({str(tmp_path / 'damaged.mp4')!r}, '63', 'http://127.0.0.1:9/x'):\n"
        "    try:\n"
        "        camera.connect(source, open_timeout=1, read_timeout=1)\n"
        "    except errors.BadInputError:\n"
        "        print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT, check=True
    )

    assert (done.stdout, done.stderr) == ("refused\n" * 3, "")
