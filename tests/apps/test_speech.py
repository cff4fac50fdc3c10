"""apps.speech as people start it: a process, a real broker, a real sound server."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage

from apps.demo.broker import Broker
from apps.demo.microphone import VirtualMicrophone
from device import bundle
from tests import bundles
from tests.microphones import feeding_silence, known_sound, needs_pulseaudio, samples_of, wait_for

ROOT = Path(__file__).parents[2]
AUDIO, TELEMETRY = "hermes/audioServer/hut/audioFrame", "fieldwren/hut/speech/telemetry"
TIMEOUT = 120.0  # seconds a command may take on a busy machine


class Subscriber:
    """An MQTT client that knows the topics and WAV, and none of our code."""

    def __init__(self, port: int) -> None:
        self.frames: list[bytes] = []
        self.telemetry: list[dict[str, Any]] = []
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._message
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([(AUDIO, 0), (TELEMETRY, 0)])
        self._client.loop_start()
        assert self._ready.wait(TIMEOUT)

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def sound(self) -> NDArray[np.int64]:
        return np.frombuffer(b"".join(self.frames), "<i2").astype(int)

    def _message(self, client: Client, _: object, message: MQTTMessage) -> None:
        if message.topic == TELEMETRY:
            self.telemetry.append(json.loads(message.payload))
            return
        assert len(message.payload) == 684
        self.frames.append(samples_of(message.payload).tobytes())


def speech(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "apps.speech", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@contextmanager
def running(config: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "apps.speech", "run", "--config", str(config)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def configure(folder: Path, port: int, **values: object) -> Path:
    path = folder / "hut.toml"
    lines = [
        'station = "hut"',
        f"[mqtt]\nport = {port}",
        "[speech]",
        'bundle = "identity"',
        *(f"{name} = {json.dumps(value)}" for name, value in values.items()),
    ]
    path.write_text("\n".join(lines))
    return path


def refused(result: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """The one line on stderr with which a command must have ended."""
    assert result.returncode == code, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def find(needle: NDArray[np.int64], haystack: NDArray[np.int64]) -> int:
    """Where the needle begins, give or take one in every sample."""
    first = needle[:64]
    windows = np.lib.stride_tricks.sliding_window_view(haystack, len(first))
    (places,) = np.nonzero((np.abs(windows - first) <= 1).all(1))
    assert len(places) == 1, f"found {len(places)} times"
    return int(places[0])


@needs_pulseaudio
def test_four_microphones_reach_a_subscriber(
    enhancer: Path, tmp_path: Path, broker: Broker
) -> None:
    sound = known_sound(32_000, 4)
    with (
        VirtualMicrophone(tmp_path / "array", channels=4) as array,
        Subscriber(broker.port) as subscriber,
    ):
        config = configure(
            *(tmp_path, broker.port),
            device=array.device,
            channels=4,
            reference=2,
            buffer=20.0,
            telemetry_interval=0.5,
        )
        with running(config, **array.environment) as app:
            with feeding_silence(array):
                wait_for(lambda: len(subscriber.frames) > 0, "the first frame")
            array.feed(sound)
            with feeding_silence(array):
                needed = len(sound) // 320 + 10
                wait_for(lambda: heard(subscriber) >= needed, "all frames")
                wait_for(lambda: len(subscriber.telemetry) > 0, "telemetry")
            app.send_signal(signal.SIGTERM)
            assert app.wait(TIMEOUT) == 0
    expected = sound[:, 2].astype(int)
    start = find(expected, subscriber.sound)
    assert np.abs(subscriber.sound[start : start + len(expected)] - expected).max() <= 1
    last = subscriber.telemetry[-1]
    assert (last["modelName"], last["xruns"]) == ("identity", 0)
    assert last["frames"] * 256 >= len(sound)


def heard(subscriber: Subscriber) -> int:
    """Frames since the first that was not silent."""
    loud = [bool(np.frombuffer(frame, "<i2").any()) for frame in subscriber.frames]
    return len(loud) - loud.index(True) if True in loud else 0


def test_a_file_plays_to_its_end(enhancer: Path, tmp_path: Path, broker: Broker) -> None:
    pcm = known_sound(24_000, 2)
    soundfile.write(tmp_path / "in.wav", pcm, 16_000)
    config = configure(tmp_path, broker.port, device="in.wav", reference=1)
    with Subscriber(broker.port) as subscriber:
        result = speech("run", "--config", config)
        assert result.returncode == 0, result.stdout + result.stderr
        wait_for(lambda: len(subscriber.frames) == -(-(24_000 + 256) // 320), "all frames")
        wait_for(lambda: len(subscriber.telemetry) == 1, "the last telemetry")
    assert np.abs(subscriber.sound[256 : 24_000 + 256] - pcm[:, 1]).max() <= 1
    assert list(tmp_path.rglob("*.wav")) == [tmp_path / "in.wav"]  # audio stays off the disk


def test_a_stopped_app_catches_up(enhancer: Path, tmp_path: Path, broker: Broker) -> None:
    soundfile.write(tmp_path / "in.wav", known_sound(16_000 * 300, 1), 16_000)
    config = configure(tmp_path, broker.port, device="in.wav", telemetry_interval=0.3)
    with Subscriber(broker.port) as subscriber, running(config) as app:
        wait_for(lambda: len(subscriber.telemetry) > 0, "telemetry")
        before = subscriber.telemetry[-1]["bypasses"]
        app.send_signal(signal.SIGSTOP)
        threading.Event().wait(1.0)  # this long it certainly is behind
        app.send_signal(signal.SIGCONT)
        wait_for(lambda: subscriber.telemetry[-1]["bypasses"] >= before + 30, "bypasses")

        def on_time() -> bool:
            older, newer = subscriber.telemetry[-2:]
            return (
                newer["bypasses"] == older["bypasses"]
                and newer["frames"] > older["frames"]
                and newer["latencyMs"] < 200
            )

        wait_for(on_time, "the base latency")
        app.send_signal(signal.SIGTERM)
        assert app.wait(TIMEOUT) == 0


def test_without_a_broker_a_file_fails_with_one_line(enhancer: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(3200), 16_000)
    config = configure(tmp_path, 1, device="in.wav")
    result = speech("run", "--config", config)
    assert "nothing could be published: no broker at 127.0.0.1:1" in refused(result, code=1)
    assert "cannot be reached" in result.stdout
    assert "0 frames sent, 11 not sent" in result.stdout


def test_what_cannot_start_says_why(enhancer: Path, tmp_path: Path, broker: Broker) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(3200), 16_000)
    config = configure(tmp_path, broker.port, device="none.wav")
    assert "none.wav: no such sound file" in refused(speech("run", "--config", config))
    config.write_text('station = "hut"')
    assert "has no [speech] table" in refused(speech("run", "--config", config))
    (enhancer / bundle.MODEL).write_bytes(b"broken")
    config = configure(tmp_path, broker.port, device="in.wav")
    assert "differs from its hash" in refused(speech("run", "--config", config))


@needs_pulseaudio
def test_a_missing_microphone_is_named(enhancer: Path, tmp_path: Path, broker: Broker) -> None:
    with VirtualMicrophone(tmp_path / "array", channels=2) as array:
        config = configure(tmp_path, broker.port, device="attic")
        line = refused(speech("run", "--config", config, **array.environment))
    assert re.search(r"speech.device: 'attic'.*inputs here: .*'fieldwren'", line)


def test_enhance_writes_the_file_and_one_json_line(enhancer: Path, tmp_path: Path) -> None:
    pcm = np.random.default_rng(0).integers(-9000, 9000, (48_000, 2), np.int16)
    soundfile.write(tmp_path / "in.wav", pcm, 16_000)
    out = tmp_path / "out.flac"
    options = ("--bundle", enhancer, "--channel", 1, "--json")
    result = speech("enhance", tmp_path / "in.wav", out, *options)
    assert result.returncode == 0, result.stderr
    line = json.loads(result.stdout)
    assert (line["file"], line["seconds"], line["bad_samples"]) == (str(out), 3.0, 0)
    assert 0 < line["rtf"]["p50"] <= line["rtf"]["p95"] <= line["rtf"]["p99"]
    assert line["level_out"] == pytest.approx(line["level_in"], abs=0.01)
    assert line["model"]["sha256"] == bundle.read(enhancer).model_sha256
    assert np.abs(soundfile.read(out, dtype="int16")[0].astype(int) - pcm[:, 1]).max() <= 1


def test_enhance_mixes_and_limits(tmp_path: Path) -> None:
    folder = bundles.make_enhancer(tmp_path / "mute", gain=0.0)
    pcm = np.random.default_rng(0).integers(-9000, 9000, 8000, np.int16)
    soundfile.write(tmp_path / "in.wav", pcm, 16_000)
    out = tmp_path / "out.wav"
    options = ("--bundle", folder, "--wet", 0.5, "--max-attenuation", 20)
    result = speech("enhance", tmp_path / "in.wav", out, *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{out}: 0.50 s")
    np.testing.assert_allclose(soundfile.read(out, dtype="int16")[0], 0.55 * pcm, atol=1)


def test_enhance_refuses_with_one_line_and_writes_nothing(enhancer: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(3), 48_000)
    (tmp_path / "text.wav").write_text("hello")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.wav")}
    for source, target, folder, reason in [
        ("text.wav", "text.wav", enhancer, "text.wav: not a sound file"),
        ("in.wav", "no/out.wav", enhancer, "no such folder"),
        ("in.wav", "out.wav", tmp_path, "not a bundle"),
    ]:
        result = speech("enhance", tmp_path / source, tmp_path / target, "--bundle", folder)
        assert reason in refused(result)
    assert {path: path.read_bytes() for path in tmp_path.glob("*.wav")} == before
