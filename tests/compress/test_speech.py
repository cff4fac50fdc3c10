"""Reading recordings: forms, rates, splits that share nobody, and errors a user understands."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from compress import speech
from device.errors import BadInputError

RATE = 16_000


def tone(hertz: float, seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    time = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def write(path: Path, samples: NDArray[np.float32], rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


def recordings(groups: int, each: int = 2) -> list[speech.Recording]:
    return [
        speech.Recording(f"{group}-{part}", f"s{group}", np.full(100, group, np.int16))
        for group in range(groups)
        for part in range(each)
    ]


@pytest.mark.parametrize("suffix", ["flac", "wav", "ogg"])
def test_any_form_rate_and_channel_count_becomes_16_khz_mono(tmp_path: Path, suffix: str) -> None:
    stereo = np.stack((tone(440, 1, 44_100), np.zeros(44_100, np.float32)), 1)
    read = speech.read_audio(write(tmp_path / f"a.{suffix}", stereo, 44_100), RATE)
    assert len(read) == RATE
    middle = slice(2000, 14_000)
    error = read[middle] - tone(440, 1)[middle] / 2
    assert np.abs(error).max() < 0.02


def test_samples_are_kept_as_int16_and_come_back_as_floats(tmp_path: Path) -> None:
    write(tmp_path / "7-1.wav", np.array([0, 0.5, -1, 0.25], np.float32))
    (recording,) = speech.read_speech(tmp_path, RATE)
    assert recording.samples.dtype == np.int16
    assert recording.part(1, 2).tolist() == [0.5, -1.0]
    assert len(recording.part(3, 9)) == 1


def test_folders_are_searched_deeply_and_named_by_speaker(tmp_path: Path) -> None:
    for name in ("a/1034-121119-0000.flac", "b/1034-5-0001.flac", "p232_001.wav", "notes.txt"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("not sound")
        else:
            write(tmp_path / name, tone(300, 0.1))
    found = list(speech.read_speech(tmp_path, RATE))
    assert [r.group for r in found] == ["1034", "1034", "p232"]


def test_files_named_alike_in_each_speakers_folder_are_told_to_count_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A split by their names would not keep the voices apart."""
    for name in ("ann/001.wav", "bob/001.wav", "bob/002.wav", "p232_001.wav", "mic2/p232_001.wav"):
        write(tmp_path / name, tone(300, 0.1))
    assert len(list(speech.read_speech(tmp_path, RATE))) == 5
    assert "2 files are called 001.wav and count as one speaker's" in capsys.readouterr().out
    (tmp_path / "bob/001.wav").rename(tmp_path / "bob/bob-001.wav")
    list(speech.read_speech(tmp_path, RATE))
    assert not capsys.readouterr().out


def test_readers_of_dns_are_speakers_not_its_books(tmp_path: Path) -> None:
    for name in (
        "book_00000_chp_0009_reader_06709_0.wav",
        "book_00007_chp_0002_reader_06709_12.wav",
        "book_00000_chp_0009_reader_00012_0.wav",
    ):
        write(tmp_path / name, tone(300, 0.1))
    groups = [r.group for r in speech.read_speech(tmp_path, RATE)]
    assert groups == ["reader_00012", "reader_06709", "reader_06709"]


def test_takes_of_one_noise_recording_stay_together(tmp_path: Path) -> None:
    for name in ("rain/1-17367-A.ogg", "rain/1-17367-B.ogg", "rain/1-26222-A.ogg", "street.ogg"):
        write(tmp_path / name, tone(300, 0.1))
    groups = [r.group for r in speech.read_noise(tmp_path, RATE)]
    assert groups == ["rain/1-17367", "rain/1-17367", "rain/1-26222", "street"]


@pytest.mark.parametrize("where", ["", "logfiles/"])
def test_pairs_are_grouped_by_the_noise_that_the_sets_log_names(
    tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("p226_001", "p226_002", "p227_001"):
        for part in ("clean", "noisy"):
            write(tmp_path / part / f"{name}.wav", tone(300, 0.1))

    def groups() -> list[str]:
        return [r.group for r in speech.read_noise(tmp_path, RATE)]

    assert groups() == ["p226_001.wav", "p226_002.wav", "p227_001.wav"]
    assert "no log names the noise of 3 pairs" in capsys.readouterr().out
    log = tmp_path / where / "log_trainset_28spk.txt"
    log.parent.mkdir(exist_ok=True)
    log.write_text("p226_001 living 10\np226_002 bus 0\np227_001 living 5\n")
    assert groups() == ["living", "bus", "living"]
    assert not capsys.readouterr().out


def test_splits_share_no_group_and_lose_nothing() -> None:
    whole = recordings(25)
    parts = speech.split(whole, validation=0.2, test=0.12, seed=3, side=speech.SPEECH)
    names = [{r.group for r in part} for part in (parts.train, parts.validation, parts.test)]
    assert [len(n) for n in names] == [17, 5, 3]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    assert sum(len(p) for p in (parts.train, parts.validation, parts.test)) == len(whole)
    assert parts == speech.split(whole, validation=0.2, test=0.12, seed=3, side=speech.SPEECH)
    other = speech.split(whole, validation=0.2, test=0.12, seed=4, side=speech.SPEECH)
    assert {r.group for r in other.test} != names[2]


def test_a_share_of_nothing_is_empty_and_a_small_one_is_one_group() -> None:
    parts = speech.split(recordings(3), validation=0.01, test=0.0, seed=0, side=speech.SPEECH)
    assert len({r.group for r in parts.validation}) == 1
    assert parts.test == ()


@pytest.mark.parametrize(
    ("side", "test", "message"),
    [
        (
            speech.SPEECH,
            0.1,
            r"speech: too few speakers \(1 in 12 files\) for training, validation and test, .*"
            'give files with 3 or more .* up to its first "-" or "_", .*: '
            "speech_000.wav counts as speech",
        ),
        (speech.NOISE, 0.0, r"noise: too few noises \(1 in 12 .* training and validation, .* 2 or"),
    ],
)
def test_too_few_groups_to_split_are_told_with_their_rule(
    side: speech.Side, test: float, message: str
) -> None:
    paths = [Path(f"speech_{number:03}.wav") for number in range(12)]
    found = [
        speech.Recording(path.name, speech.speaker_of(path), np.zeros(9, np.int16))
        for path in paths
    ]
    with pytest.raises(BadInputError, match=message):
        speech.split(found, validation=0.1, test=test, seed=0, side=side)


def test_fingerprint_is_of_content_not_of_order() -> None:
    whole = recordings(3)
    assert speech.fingerprint(whole) == speech.fingerprint(whole[::-1])
    changed = [*whole[:-1], speech.Recording("2-1", "s2", np.full(100, 9, np.int16))]
    assert speech.fingerprint(whole) != speech.fingerprint(changed)


def test_pairs_are_matched_by_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / "clean" / f"{name}.wav", tone(200, 0.2))
        write(tmp_path / "noisy" / f"{name}.wav", tone(300, 0.2))
    pairs = list(speech.read_pairs(tmp_path, RATE))
    assert [p.name for p in pairs] == ["a.wav", "b.wav"]
    assert not np.array_equal(pairs[0].noisy, pairs[0].clean)


def test_pairs_of_dns_are_matched_by_file_number(tmp_path: Path) -> None:
    for number, hertz in ((1, 200), (12, 400)):
        noisy = f"clnsp{9 - number % 9}_train_69075_1_snr15_tl-26_fileid_{number}.wav"
        write(tmp_path / "clean" / f"clean_fileid_{number}.wav", tone(hertz, 0.2))
        write(tmp_path / "noisy" / noisy, tone(hertz, 0.2) / 2)
    pairs = list(speech.read_pairs(tmp_path, RATE))
    assert [p.name.rpartition("_")[2] for p in pairs] == ["1.wav", "12.wav"]
    for pair in pairs:
        np.testing.assert_allclose(pair.noisy, pair.clean / 2, atol=1e-4)
    write(tmp_path / "noisy" / "other_fileid_12.wav", tone(300, 0.2))
    with pytest.raises(
        BadInputError, match=r"other_fileid_12\.wav: is of the same pair as .*clnsp"
    ):
        list(speech.read_pairs(tmp_path, RATE))


def test_a_pair_without_its_partner(tmp_path: Path) -> None:
    write(tmp_path / "clean" / "a.wav", tone(200, 0.2))
    write(tmp_path / "noisy" / "a.wav", tone(200, 0.2))
    write(tmp_path / "noisy" / "b.wav", tone(200, 0.2))
    with pytest.raises(BadInputError, match=r"noisy/b\.wav: has no partner in .*clean"):
        list(speech.read_pairs(tmp_path, RATE))


def test_a_pair_of_different_length(tmp_path: Path) -> None:
    write(tmp_path / "clean" / "a.wav", tone(200, 0.2))
    write(tmp_path / "noisy" / "a.wav", tone(200, 0.3))
    with pytest.raises(BadInputError, match=r"noisy/a\.wav: 4800 samples, .* 3200"):
        list(speech.read_pairs(tmp_path, RATE))


def test_bad_folders_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="nowhere: no such folder of sound files"):
        list(speech.read_noise(tmp_path / "nowhere", RATE))
    with pytest.raises(BadInputError, match="no sound files"):
        list(speech.read_noise(tmp_path, RATE))
    broken = tmp_path / "broken.flac"
    broken.write_bytes(b"fLaC but not really")
    with pytest.raises(BadInputError, match=r"broken\.flac: cannot be read as sound"):
        list(speech.read_noise(tmp_path, RATE))


def test_a_streamed_flac_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tone(440, 1))
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the number of samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"a\.flac: does not say how long it is"):
        speech.read_audio(path, RATE)


def test_empty_and_non_finite_files_are_refused(tmp_path: Path) -> None:
    for samples in (0, 1):
        empty = write(tmp_path / "empty.wav", np.zeros(samples, np.float32), 48_000)
        with pytest.raises(BadInputError, match=r"empty\.wav: holds no samples"):
            speech.read_audio(empty, RATE)
    bad = tmp_path / "nan.wav"
    soundfile.write(bad, np.array([0, np.nan], np.float32), RATE, subtype="FLOAT")
    with pytest.raises(BadInputError, match=r"nan\.wav: holds samples that are not finite"):
        speech.read_audio(bad, RATE)
