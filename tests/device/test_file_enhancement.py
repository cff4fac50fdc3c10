"""Whole files through the engine: aligned, same length, with figures."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from device import bundle
from device.enhancer import StreamEnhancer
from device.errors import BadInputError
from device.file_enhancement import enhance_file
from tests import bundles


@pytest.fixture
def stream(enhancer: Path) -> StreamEnhancer:
    return StreamEnhancer(bundle.load(enhancer))


@pytest.mark.parametrize("length", [0, 1, 3, 255, 256, 40_000])
def test_the_output_is_as_long_as_the_input_and_aligned(
    stream: StreamEnhancer, tmp_path: Path, length: int
) -> None:
    pcm = np.random.default_rng(0).integers(-9000, 9000, (length, 2), np.int16)
    soundfile.write(tmp_path / "in.wav", pcm, 16_000)
    done = enhance_file(stream, tmp_path / "in.wav", tmp_path / "out.wav", channel=1)
    result, rate = soundfile.read(tmp_path / "out.wav", dtype="int16")
    assert (rate, result.shape) == (16_000, (length,))
    assert np.abs(result.astype(int) - pcm[:, 1]).max(initial=0) <= 1
    assert done.seconds == length / 16_000
    assert (done.rtf is None) == (length < 256)


def test_another_rate_becomes_16_khz(stream: StreamEnhancer, tmp_path: Path) -> None:
    time = np.arange(44_100) / 44_100
    soundfile.write(tmp_path / "in.flac", 0.5 * np.sin(2 * np.pi * 440 * time), 44_100)
    done = enhance_file(stream, tmp_path / "in.flac", tmp_path / "out.wav")
    result, rate = soundfile.read(tmp_path / "out.wav")
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert (rate, len(result)) == (16_000, 16_000)
    np.testing.assert_allclose(result[300:-300], expected[300:-300], atol=2e-4)
    assert done.level_in == pytest.approx(-9.03, abs=0.05)
    assert done.level_out == pytest.approx(done.level_in, abs=0.01)


def test_broken_samples_do_not_spread(stream: StreamEnhancer, tmp_path: Path) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    broken = sound.copy()
    broken[[0, 20_000, 47_999]] = [np.nan, np.inf, -np.inf]
    sound[[0, 20_000, 47_999]] = 0
    for name, samples in [("whole.wav", sound), ("broken.wav", broken)]:
        soundfile.write(tmp_path / name, samples, 48_000, subtype="FLOAT")
    enhance_file(stream, tmp_path / "whole.wav", tmp_path / "expected.wav")
    done = enhance_file(stream, tmp_path / "broken.wav", tmp_path / "out.wav")
    assert done.bad_samples == 3
    assert (tmp_path / "out.wav").read_bytes() == (tmp_path / "expected.wav").read_bytes()


def test_a_file_can_be_enhanced_onto_itself(stream: StreamEnhancer, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    pcm = np.random.default_rng(0).integers(-9000, 9000, 30_000, np.int16)
    soundfile.write(path, pcm, 16_000)
    enhance_file(stream, path, path)
    assert np.abs(soundfile.read(path, dtype="int16")[0].astype(int) - pcm).max() <= 1


def test_a_missing_channel_is_refused(stream: StreamEnhancer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros((10, 2)), 16_000)
    with pytest.raises(BadInputError, match="has 2 channels"):
        enhance_file(stream, tmp_path / "in.wav", tmp_path / "out.wav", channel=2)
    assert not (tmp_path / "out.wav").exists()


def test_a_model_that_fails_is_reported(tmp_path: Path) -> None:
    model = bundle.Model(bundle.read(bundles.make_nan_enhancer(tmp_path / "nan")))
    pcm = np.random.default_rng(0).integers(-9000, 9000, 2560, np.int16)
    soundfile.write(tmp_path / "in.wav", pcm, 16_000)
    stream = StreamEnhancer(model)
    for _ in range(2):  # of this file, not of all so far
        done = enhance_file(stream, tmp_path / "in.wav", tmp_path / "out.wav")
        assert done.bad_frames == 11
    result = soundfile.read(tmp_path / "out.wav", dtype="int16")[0]
    assert np.abs(result.astype(int) - pcm).max() <= 1


def test_progress_goes_from_nothing_to_all(stream: StreamEnhancer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(20_000), 16_000)
    shares: list[float] = []
    enhance_file(stream, tmp_path / "in.wav", tmp_path / "out.wav", progress=shares.append)
    assert shares == [0.4, 0.8, 1.0]


def test_a_damaged_file_leaves_nothing_behind(stream: StreamEnhancer, tmp_path: Path) -> None:
    """What was heard of it is not the beginning of the next file."""
    pcm = np.random.default_rng(0).integers(-9000, 9000, 30_000, np.int16)
    soundfile.write(tmp_path / "good.wav", pcm, 16_000)
    soundfile.write(tmp_path / "bad.flac", pcm, 16_000)
    content = (tmp_path / "bad.flac").read_bytes()
    (tmp_path / "bad.flac").write_bytes(content[: len(content) // 2])
    enhance_file(stream, tmp_path / "good.wav", tmp_path / "expected.wav")
    with pytest.raises(BadInputError, match="damaged"):
        enhance_file(stream, tmp_path / "bad.flac", tmp_path / "out.wav")
    stream.process(np.ones(100, np.float32))  # nor is what somebody else had begun
    enhance_file(stream, tmp_path / "good.wav", tmp_path / "out.wav")
    assert (tmp_path / "out.wav").read_bytes() == (tmp_path / "expected.wav").read_bytes()
