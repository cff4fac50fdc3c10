"""From an audio source to Hermes frames: late means dry, counted, and then on time again."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from apps.demo.microphone import VirtualMicrophone
from device import bundle
from device.enhancer import StreamEnhancer
from device.errors import BadInputError
from device.microphone import Microphone
from device.playback import Playback
from device.speech_stage import SpeechStage
from tests import bundles
from tests.microphones import array, feeding, known_sound, needs_pulseaudio, samples_of, wait_for

__all__ = ["array"]  # the fixture

DELAY = 256


def stage_on(source: Playback | Microphone, folder: Path, reference: int = 0) -> SpeechStage:
    model = bundle.load(folder)
    return SpeechStage(source, StreamEnhancer(model), model.bundle, reference)


def test_a_file_comes_out_as_frames_of_its_reference_channel(
    enhancer: Path, tmp_path: Path
) -> None:
    pcm = known_sound(5000, 3)
    soundfile.write(tmp_path / "in.wav", pcm, 16_000)
    source = Playback(tmp_path / "in.wav")
    stage = stage_on(source, enhancer, reference=2)
    frames: list[bytes] = []
    while not source.ended:
        block = source.read(1)
        if block is not None:
            frames += stage.process(block)
    frames += stage.flush()
    heard = np.concatenate([samples_of(frame) for frame in frames]).astype(int)
    assert len(heard) == -(-(5000 + DELAY) // 320) * 320
    assert np.abs(heard[DELAY : DELAY + 5000] - pcm[:, 2]).max() <= 1
    telemetry = stage.telemetry()
    assert telemetry.frames == -(-5000 // 256) + 1
    assert telemetry.rtf_p99 >= telemetry.rtf_p95 >= telemetry.rtf_p50 > 0
    assert telemetry.level == pytest.approx(-4.77, abs=0.1)  # evenly spread over full scale
    assert (telemetry.xruns, telemetry.drops, telemetry.model_name) == (0, 0, "identity")
    # the newest sample sent is at least a window old, the enhancer's own latency
    assert telemetry.latency >= 16
    quiet = stage.telemetry()  # nothing since the last one
    assert (quiet.rtf_p50, quiet.level, quiet.frames) == (0, -120, telemetry.frames)


@needs_pulseaudio
def test_a_late_worker_passes_sound_dry_and_catches_up(
    array: VirtualMicrophone, tmp_path: Path
) -> None:
    folder = bundles.make_enhancer(tmp_path / "half", gain=0.5)
    microphone = Microphone(array.device, channels=4, buffer=20)
    microphone.open()
    with closing(microphone):
        stage = stage_on(microphone, folder, reference=1)
        late, later = known_sound(16_000, 4), known_sound(8_000, 4)
        with feeding(array, late, speed=4):
            wait_for(lambda: microphone.backlog == len(late), "a backlog of a second")
        frames: list[bytes] = []
        while (block := microphone.read(0)) is not None:
            frames += stage.process(block)
        assert microphone.backlog == 0
        assert not stage.bypassing
        bypasses = stage.telemetry().bypasses
        # from the first block on to the last 40 ms
        assert bypasses == pytest.approx((16_000 - 640) / 256, abs=2)
        for start in range(0, len(later), 320):
            array.feed(later[start : start + 320])
            wait_for(lambda: microphone.backlog == 320, "a block")
            block = microphone.read(0)
            assert block is not None
            frames += stage.process(block)
        frames += stage.flush()
    telemetry = stage.telemetry()
    assert telemetry.bypasses == bypasses
    # no more than what is inside: a block, the enhancer's window, an unfinished frame
    assert telemetry.latency <= 1000 * (320 + 512 + 320) / 16_000
    heard = np.concatenate([samples_of(f) for f in frames])[DELAY:].astype(int)
    dry, wet = late[:, 1].astype(int), later[:, 1] / 2
    assert np.abs(heard[: 16_000 - 1500] - dry[: 16_000 - 1500]).max() <= 1
    assert np.abs(heard[16_000 : 16_000 + len(wet)] - wet).max() <= 1


def test_faults_of_sound_and_model_are_survived_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound = np.full(3200, 0.1, np.float32)  # the model does not hear digital silence
    sound[[5, 900]] = np.nan
    soundfile.write(tmp_path / "in.wav", sound, 48_000, subtype="FLOAT")
    model = bundle.Model(bundle.read(bundles.make_nan_enhancer(tmp_path / "nan")))
    source = Playback(tmp_path / "in.wav", block=1600)
    stage = SpeechStage(source, StreamEnhancer(model), model.bundle, 0)
    frames: list[bytes] = []
    while not source.ended:
        block = source.read(1)
        frames += stage.process(block) if block else []
    frames += stage.flush()
    heard = np.concatenate([samples_of(frame) for frame in frames])
    assert 0 < np.abs(heard).max() < 0.2 * 2**15  # dry, but for ringing at the edges
    stage.telemetry()
    stage.telemetry()
    assert caplog.text.count("2 samples were not numbers, 6 frames passed dry") == 1


def test_a_reference_beyond_the_channels_is_refused(enhancer: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros((10, 2)), 16_000)
    with pytest.raises(BadInputError, match=r"speech.reference: channel 2, but .* has 2 \(0…1\)"):
        stage_on(Playback(tmp_path / "in.wav"), enhancer, reference=2)


def test_a_model_for_another_rate_is_refused(enhancer: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(10), 16_000)
    old = bundle.read(enhancer).manifest.preprocessing
    bundles.rewrite_manifest(enhancer, preprocessing=old.model_copy(update={"rate": 8_000}))
    with pytest.raises(BadInputError, match="works at 8000 Hz, not at 16000"):
        stage_on(Playback(tmp_path / "in.wav"), enhancer)
