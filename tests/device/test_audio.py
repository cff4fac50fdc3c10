"""Sound files in and out: every rate and channel, aligned, whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from device.audio import UNKNOWN, Resampler, SoundReader, writing
from device.errors import BadInputError, FieldwrenError
from device.samples import Array, dbfs, energy, from_pcm, to_pcm, without_broken
from tests.full_disk import room


def sine(rate: int, seconds: float) -> Array:
    time = np.arange(round(rate * seconds)) / rate
    return np.sin(2 * np.pi * 440 * time, dtype=np.float64).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000, 96_000])
def test_any_rate_becomes_16_khz_in_time(rate: int) -> None:
    samples = sine(rate, 0.73)
    resampler = Resampler(rate, 16_000)
    pieces = [resampler.process(piece) for piece in np.array_split(samples, 37)]
    result = np.concatenate([*pieces, resampler.flush()])
    assert len(result) == round(len(samples) * 16_000 / rate)
    # the ends ring: the tone begins and stops at once
    np.testing.assert_allclose(
        result[300:-300], sine(16_000, 1)[300 : len(result) - 300], atol=1e-4
    )


@given(
    rate=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]),
    sizes=st.lists(st.integers(0, 5000), max_size=6),
)
def test_the_length_is_exact_for_any_stream(rate: int, sizes: list[int]) -> None:
    resampler = Resampler(rate, 16_000)
    got = sum(len(resampler.process(np.ones(size, np.float32))) for size in sizes)
    got += len(resampler.flush())
    assert got == round(sum(sizes) * 16_000 / rate)


@pytest.mark.parametrize(("suffix", "subtype"), [(".wav", "PCM_16"), (".flac", "PCM_16")])
def test_what_is_written_is_read(tmp_path: Path, suffix: str, subtype: str) -> None:
    path = tmp_path / f"sound{suffix}"
    pcm = np.arange(-32768, 32768, 7, dtype=np.int16)
    with writing(path, 16_000) as writer:
        writer.write(from_pcm(pcm[:1000]))
        writer.write(from_pcm(pcm[1000:]))
    info = soundfile.info(path)
    assert (info.subtype, info.samplerate, info.channels) == (subtype, 16_000, 1)
    with SoundReader(path) as reader:
        block = reader.read(len(pcm) + 1)
        assert block is not None
        np.testing.assert_array_equal(to_pcm(block.samples[:, 0]), pcm)
        assert reader.read(1) is None


def test_a_failure_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), writing(path, 16_000) as writer:
        writer.write(np.zeros(1000, np.float32))
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["sound.wav"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("size", [0, 100, 8192, 19_000])
def test_a_full_disk_is_said_to_be_full(tmp_path: Path, suffix: str, size: int) -> None:
    """libsndfile says "System error"; it is no fault of what the user typed."""
    noise = np.random.default_rng(0).uniform(-1, 1, 10_000).astype(np.float32)
    path = tmp_path / f"sound{suffix}"
    with (
        pytest.raises(FieldwrenError) as raised,
        room(size),
        writing(path, 16_000) as writer,
    ):
        writer.write(noise)
    assert str(raised.value) == f"{path}: cannot write: File too large"
    assert raised.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [("sound.mp3", ".wav or .flac only"), ("no/sound.wav", "no such folder"), ("", "can write")],
)
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(BadInputError, match=reason), writing(tmp_path / name, 16_000):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "sound.wav").mkdir()
    with pytest.raises(BadInputError, match="is a folder"), writing(tmp_path / "sound.wav", 16_000):
        pass


def test_what_is_not_sound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("RIFF but nothing more")
    (tmp_path / "empty.wav").touch()
    for name, reason in [
        ("text.wav", "not a sound file"),
        ("empty.wav", "not a sound file"),
        ("none.wav", "no such sound file"),
        (".", "a folder, not a sound file: name one file"),
    ]:
        with pytest.raises(BadInputError, match=reason):
            SoundReader(tmp_path / name)


def test_a_rate_that_is_not_sound_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "slow.wav", np.zeros(10), 1)
    with pytest.raises(BadInputError, match="1 Hz is not a sampling rate"):
        SoundReader(tmp_path / "slow.wav")


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "sound.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 100_000), 16_000)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\0" * len(content[len(content) // 2 :])
    path.write_bytes(content)
    with SoundReader(path) as reader, pytest.raises(BadInputError, match="damaged"):
        while reader.read(4096):
            pass


def test_a_file_that_ends_early_says_so(tmp_path: Path) -> None:
    path = tmp_path / "sound.flac"
    soundfile.write(path, noise(50_000), 16_000)
    path.write_bytes(path.read_bytes()[:40_000])
    with SoundReader(path) as reader, pytest.raises(BadInputError, match="damaged"):
        while reader.read(4096):
            pass


@pytest.mark.parametrize("length", [1, 30_000, 32_768])
def test_a_flac_that_was_streamed_does_not_know_its_length(tmp_path: Path, length: int) -> None:
    path = tmp_path / "streamed.flac"
    soundfile.write(path, noise(length), 16_000)
    expected = soundfile.read(path, dtype="float32")[0]
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the number of samples in STREAMINFO: 36 bits from here
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with SoundReader(path) as reader:
        assert reader.frames == UNKNOWN
        blocks = list(iter(lambda: reader.read(8192), None))
    np.testing.assert_array_equal(np.concatenate([b.samples[:, 0] for b in blocks]), expected)


@pytest.mark.parametrize("size", [0x7FFFF000, 0xFFFFFFFF])
def test_a_wav_that_was_streamed_is_whole(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = wav_of_size(tmp_path, size)
    with SoundReader(path) as reader:
        block = reader.read(20_000)
    assert block is not None and len(block.samples) == 10_000
    assert not caplog.records


def test_a_wav_cut_short_is_heard_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = wav_of_size(tmp_path, 20_000)
    with SoundReader(path):
        assert not caplog.records
    path.write_bytes(path.read_bytes()[: 44 + 9_000])
    with SoundReader(path) as reader:
        block = reader.read(20_000)
    assert block is not None and len(block.samples) == 4_500
    assert caplog.messages == [f"{path}: cut short: 9000 bytes of sound, its header promises 20000"]


def test_a_wav_whose_header_was_never_finished_is_refused(tmp_path: Path) -> None:
    path = wav_of_size(tmp_path, 0)
    with pytest.raises(BadInputError, match=r"never finished: .* 20000 bytes .*ffmpeg"):
        SoundReader(path)
    soundfile.write(path, np.zeros(0), 16_000)  # holds nothing indeed
    for more in (b"", b"LIST\4\0\0\0abcd"):
        path.write_bytes(path.read_bytes() + more)
        with SoundReader(path) as reader:
            assert reader.read(100) is None


def noise(length: int) -> Array:
    return np.random.default_rng(0).uniform(-1, 1, length).astype(np.float32)


def wav_of_size(folder: Path, size: int) -> Path:
    """10,000 samples of 16 bits behind a header that says `size` bytes."""
    path = folder / "sound.wav"
    soundfile.write(path, noise(10_000), 16_000)
    content = bytearray(path.read_bytes())
    content[40:44] = size.to_bytes(4, "little")
    path.write_bytes(content)
    return path


def test_levels_and_clipping() -> None:
    assert dbfs(energy(np.ones(100, np.float32)), 100) == 0
    assert dbfs(energy(np.full(100, 0.1, np.float32)), 100) == pytest.approx(-20, abs=1e-4)
    assert dbfs(0, 100) == dbfs(0, 0) == -120
    loud = np.array([2, 1, -1, -2, 0.5], np.float32)
    assert to_pcm(loud).tolist() == [32767, 32767, -32768, -32768, 16384]


def test_broken_samples_are_silence() -> None:
    samples, bad = without_broken(np.array([0.5, np.nan, -np.inf, 1e7, -2], np.float32))
    assert (samples.tolist(), bad) == ([0.5, 0, 0, 0, -2], 3)
