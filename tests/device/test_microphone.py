"""Capture from a real PulseAudio: every sample, and every way a microphone goes away."""

import ctypes.util
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from apps.demo.microphone import VirtualMicrophone
from device.errors import BadInputError, FieldwrenError
from device.microphone import Microphone, State
from tests.microphones import (
    array,
    capture,
    feeding,
    feeding_silence,
    known_sound,
    make_visible,
    needs_pulseaudio,
    wait_for,
)

__all__ = ["array"]  # the fixture


@contextmanager
def opened(array: VirtualMicrophone, **options: float) -> Iterator[Microphone]:
    microphone = Microphone(array.device, channels=array.channels, **{"buffer": 20.0, **options})
    with closing(microphone):
        microphone.open()
        yield microphone
    assert microphone.state is State.CLOSED


@needs_pulseaudio
def test_every_sample_of_every_channel_arrives(array: VirtualMicrophone) -> None:
    sound = known_sound(16_000, 4)
    with opened(array) as microphone:
        assert microphone.state is State.OPEN
        with feeding(array, sound, speed=4):
            heard = capture(microphone, len(sound))
        np.testing.assert_array_equal(heard, sound)
        assert (microphone.xruns, microphone.drops, microphone.backlog) == (0, 0, 0)


@needs_pulseaudio
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_other_arrays_are_not_remixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    sound = known_sound(3200, channels)
    with VirtualMicrophone(tmp_path / "array", channels=channels, rate=48_000) as array:
        make_visible(array, monkeypatch)
        with opened(array, rate=48_000, block=960) as microphone, feeding(array, sound):
            np.testing.assert_array_equal(capture(microphone, 2880), sound[:2880])


@needs_pulseaudio
def test_a_silent_source_stalls_and_comes_back(array: VirtualMicrophone) -> None:
    with opened(array, stall_timeout=0.3) as microphone:
        with feeding(array, known_sound(3200, 4)):
            capture(microphone, 3200)
        wait_for(lambda: not microphone.read(0.05) and microphone.state is State.STALLED, "stall")
        assert microphone.stalls >= 1
        with feeding_silence(array):
            wait_for(
                lambda: microphone.read(0.05) is not None and microphone.state is State.OPEN,
                "sound again",
            )


@needs_pulseaudio
def test_a_source_that_stays_silent_is_opened_anew(array: VirtualMicrophone) -> None:
    with opened(array, stall_timeout=0.1) as microphone:
        wait_for(lambda: not microphone.read(0) and microphone.state is State.REOPENING, "retry")
        assert microphone.reopened == 0  # only sound proves that it is back
        with feeding_silence(array):
            wait_for(
                lambda: microphone.read(0.05) is not None and microphone.state is State.OPEN,
                "sound",
            )
        assert microphone.reopened == 1


@needs_pulseaudio
def test_a_dead_sound_server_is_waited_for_and_opened_anew(array: VirtualMicrophone) -> None:
    with opened(array) as microphone:
        with feeding(array, known_sound(3200, 4)):
            capture(microphone, 3200)
        array.kill()
        wait_for(lambda: not microphone.read(0) and microphone.state is State.REOPENING, "loss")
        assert microphone.read(0.7) is None  # at least one attempt in vain
        assert microphone.state is State.REOPENING
        array.start()
        sound = known_sound(3200, 4)
        with feeding_silence(array):
            wait_for(
                lambda: microphone.read(0.05) is not None and microphone.state is State.OPEN,
                "a new stream",
            )
        assert microphone.reopened == 1
        silence = np.zeros((320, 4), np.int16)  # so that the last block is full wherever it begins
        with feeding(array, np.concatenate((sound, silence))):
            heard = capture(microphone, len(sound), behind_silence=True)
        np.testing.assert_array_equal(heard[: len(sound)], sound)


@needs_pulseaudio
def test_what_the_ring_cannot_hold_is_dropped_and_counted(array: VirtualMicrophone) -> None:
    with opened(array, buffer=0.1) as microphone:
        sound = known_sound(8000, 4)
        array.feed(sound, speed=4)  # nobody reads
        wait_for(lambda: microphone.drops == (8000 - 1600) // 320, "drops")
        assert microphone.backlog == 1600
        np.testing.assert_array_equal(capture(microphone, 1600), sound[:1600])
        again = known_sound(1600, 4)
        with feeding(array, again):
            np.testing.assert_array_equal(capture(microphone, 1600), again)


@needs_pulseaudio
def test_a_missing_device_names_those_there_are(array: VirtualMicrophone) -> None:
    for name in ("nobody", "97"):
        with pytest.raises(BadInputError, match=f"{name}.*inputs here: .*'fieldwren'"):
            Microphone(name, channels=4).open()


@needs_pulseaudio
def test_overflows_that_portaudio_flags_are_counted(array: VirtualMicrophone) -> None:
    with opened(array) as microphone:
        flags = sys.modules["sounddevice"].CallbackFlags()
        block = np.zeros((320, 4), np.int16)
        microphone._callback(block, 320, None, flags)
        flags.input_overflow = True  # no sound server here can be brought to do it
        microphone._callback(block, 320, None, flags)
        assert (microphone.xruns, microphone.backlog) == (1, 640)


def test_without_portaudio_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)  # as where it is missing
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(BadInputError, match="apt-get install libportaudio2"):
        Microphone("any").open()


@needs_pulseaudio
def test_the_server_leaves_nothing_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME")
    with VirtualMicrophone(tmp_path / "array", channels=1) as array:
        array.feed(np.zeros((3200, 1), np.int16), speed=10)
    assert list(home.iterdir()) == []
    with pytest.raises(FieldwrenError, match="gone"):
        array.feed(np.zeros((320, 1), np.int16))


@needs_pulseaudio
def test_a_virtual_microphone_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="1, 2, 4 or 8 channels, not 6"):
        VirtualMicrophone(tmp_path, channels=6)
    with pytest.raises(BadInputError, match="shorter path without spaces"):
        VirtualMicrophone(tmp_path / "a b")


def test_without_pulseaudio_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInputError, match="apt-get install pulseaudio libasound2-plugins"):
        VirtualMicrophone(tmp_path)
