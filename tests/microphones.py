"""What tests with the virtual microphone share. Waits are on conditions, limits are generous."""

import io
import shutil
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest

from apps.demo.microphone import VirtualMicrophone
from device.microphone import Microphone
from device.samples import Array, Pcm, to_pcm

LIMIT = 60.0  # seconds a condition may take on a busy machine

needs_pulseaudio = pytest.mark.skipif(
    shutil.which("pulseaudio") is None
    or find_library("portaudio") is None
    or not list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")),
    reason="needs apt-get install pulseaudio libasound2-plugins libportaudio2",
)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Until the condition holds; fails the test after LIMIT seconds."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {LIMIT:.0f} s"
        time.sleep(0.01)


def known_sound(frames: int, channels: int) -> Pcm:
    """Full-scale noise, always the same for a length: any 64 samples of it occur once."""
    generator = np.random.default_rng(frames)
    return generator.integers(-32768, 32768, (frames, channels), np.int16)


def samples_of(frame: bytes) -> Pcm:
    """A Hermes frame read by the standard library, which knows nothing of ours."""
    with wave.open(io.BytesIO(frame)) as content:
        assert content.getparams()[:4] == (1, 2, 16_000, 320)
        return np.frombuffer(content.readframes(320), "<i2").astype(np.int16)


def capture(microphone: Microphone, frames: int, behind_silence: bool = False) -> Pcm:
    """Read until this many frames have come, those of silence before the first sound left out."""
    blocks: list[Array] = []

    def enough() -> bool:
        block = microphone.read(0.1)
        if block is not None:
            samples = block.samples
            if behind_silence and not blocks:
                samples = samples[np.logical_or.accumulate(samples.any(1))]
            if len(samples):
                blocks.append(samples)
        return sum(map(len, blocks)) >= frames

    wait_for(enough, f"{frames} frames")
    return to_pcm(np.concatenate(blocks))


@contextmanager
def feeding(array: VirtualMicrophone, sound: Pcm, speed: float = 1.0) -> Iterator[None]:
    """Feed the sound from another thread while the block runs, all of it."""
    with ThreadPoolExecutor(1) as pool:
        fed = pool.submit(array.feed, sound, speed)
        yield
        fed.result()


@contextmanager
def feeding_silence(array: VirtualMicrophone) -> Iterator[None]:
    """Silence for as long as the block runs."""
    stop = threading.Event()

    def feed() -> None:
        while not stop.is_set():
            array.feed(np.zeros((320, array.channels), np.int16))
            stop.wait(0.02)

    with ThreadPoolExecutor(1) as pool:
        fed = pool.submit(feed)
        try:
            yield
        finally:
            stop.set()
        fed.result()


@pytest.fixture
def array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualMicrophone]:
    """Four virtual microphones that this very process can open."""
    with VirtualMicrophone(tmp_path / "array", channels=4) as array:
        make_visible(array, monkeypatch)
        yield array


def make_visible(array: VirtualMicrophone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PortAudio in this process find it."""
    for name, value in array.environment.items():
        monkeypatch.setenv(name, value)
    if sounddevice := sys.modules.get("sounddevice"):
        sounddevice._terminate()  # it still knows the devices of an earlier test
        sounddevice._initialize()
