"""A live camera that stalls, dies and comes back: real sockets, real RTSP."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device import camera
from device.errors import BadInputError
from device.frames import Camera, State
from tests.http_camera import Server
from tests.numbered import number_of, numbered
from tests.scenes import Feeder, write_video

LIMIT = 60.0  # seconds; generous: nothing here depends on being quick


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another thread."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


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
