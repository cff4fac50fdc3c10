"""Mixtures: exact SNR and level, reproducible, and no part left out of the augmentation."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from compress import mixing
from compress.mixing import Mixer, Mixing
from compress.rooms import read_rooms
from compress.speech import Recording
from device.errors import BadInputError

RATE = 16_000
PLAIN = Mixing(
    seconds=0.5,
    speed_share=0,
    late_share=0,
    two_noises_share=0,
    room_share=0,
    colour_db=0,
    band_share=0,
)


def recordings(count: int, seconds: float, seed: int) -> list[Recording]:
    random = np.random.default_rng(seed)
    samples = (random.standard_normal((count, int(seconds * RATE))) * 3000).astype(np.int16)
    return [Recording(f"{seed}-{i}", f"{seed}-{i}", s) for i, s in enumerate(samples)]


def mixer(config: Mixing, rooms: list[NDArray[np.float32]] | None = None) -> Mixer:
    return Mixer(recordings(4, 1.5, 1), recordings(3, 0.2, 2), config, RATE, rooms or [])


def decibels(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return 10 * np.log10(np.mean(values.astype(np.float64) ** 2, -1))


def test_signal_to_noise_ratio_and_level_are_exact() -> None:
    random = np.random.default_rng(0)
    speech = random.standard_normal((5, 4000)).astype(np.float32) * 0.1
    noise = random.standard_normal((5, 4000)).astype(np.float32) * 7
    snr = np.array([-5.0, 0.0, 3.3, 10.0, 15.0])
    noisy, target = mixing.mix(speech, noise, snr, np.full(5, -30.0))
    assert np.abs(decibels(target) - decibels(noisy - target) - snr).max() < 1e-3
    assert np.abs(decibels(noisy) + 30).max() < 1e-3


def test_what_leaves_full_scale_clips_in_the_mixture_only() -> None:
    time = np.arange(4000) / RATE
    speech = np.sin(2 * np.pi * 200 * time)[None].astype(np.float32)
    noisy, target = mixing.mix(speech, speech * 0, np.array([60.0]), np.array([3.0]))
    assert np.abs(noisy).max() == 1.0
    assert np.abs(target).max() == pytest.approx(2.0, rel=0.01)  # +3 dBFS RMS


def test_silence_stays_finite() -> None:
    silence = np.zeros((1, 1000), np.float32)
    for values in mixing.mix(silence, silence, np.array([0.0]), np.array([-20.0])):
        assert np.isfinite(values).all()


def test_batches_repeat_with_the_same_random_numbers_only() -> None:
    rooms = [np.random.default_rng(5).standard_normal(4000).astype(np.float32)]
    config = Mixing(seconds=0.5, room_share=0.5)
    one, same, other = (
        mixer(config, rooms).batch(np.random.default_rng(seed), 6) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])
    assert one[0].shape == one[1].shape == (6, 8000)
    assert one[0].dtype == one[1].dtype == np.float32
    assert np.isfinite(one[0]).all()


def test_remixed_batches_hear_the_same_voices_in_other_noises() -> None:
    config = PLAIN.model_copy(update={"remixes": 2, "level_dbfs": (-45.0, -30.0)})
    batches = list(mixer(config).epoch(0, 0, 3, 4))
    voices, noises = [], []
    for noisy, target in batches:
        voices.append(target / np.linalg.norm(target, axis=1, keepdims=True))
        noise = noisy - target
        noises.append(noise / np.linalg.norm(noise, axis=1, keepdims=True))
    assert np.allclose(voices[0], voices[1], atol=1e-4)
    assert np.allclose(noises[1], np.roll(noises[0], 1, 0), atol=1e-4)
    assert not np.allclose(decibels(batches[0][0]), decibels(batches[1][0]), atol=0.1)
    assert np.abs(voices[2] - voices[0]).max() > 0.01, "the third draws anew"


def test_snr_and_level_stay_in_their_ranges() -> None:
    config = PLAIN.model_copy(update={"snr_db": (-5.0, 15.0), "level_dbfs": (-45.0, -30.0)})
    noisy, target = mixer(config).batch(np.random.default_rng(0), 64)
    snr = decibels(target) - decibels(noisy - target)
    assert -5.01 < snr.min() < 0 and 10 < snr.max() < 15.01
    level = decibels(noisy)
    assert -45.01 < level.min() < -42 and -33 < level.max() < -29.99


def test_plain_target_is_a_part_of_one_recording() -> None:
    """Without augmentation the target is the speech itself, scaled."""
    sources = recordings(4, 1.5, 1)
    _, target = mixer(PLAIN).batch(np.random.default_rng(0), 3)
    for voice in target:
        best = 0.0
        for source in sources:
            wave = source.samples.astype(np.float64)
            products = np.correlate(wave, voice.astype(np.float64), "valid")
            energy = np.convolve(wave**2, np.ones(len(voice)), "valid")
            best = max(best, float((products / np.sqrt(energy * np.sum(voice**2))).max()))
        assert best > 0.9999


def test_room_is_convolved_and_stays_in_the_target() -> None:
    room = np.zeros(200, np.float32)
    room[100] = 1  # a room that only delays
    dry = mixer(PLAIN).batch(np.random.default_rng(0), 2)[1]
    config = PLAIN.model_copy(update={"room_share": 1.0})
    # the same draws: choosing a room takes place after speech and noise are drawn
    wet = mixer(config, [room]).batch(np.random.default_rng(0), 2)[1]
    for one, other in zip(dry, wet, strict=True):
        a, b = one[:-100].astype(np.float64), other[100:].astype(np.float64)
        assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.9999
        assert np.abs(other[:100]).max() < 1e-4


def test_band_limit_removes_the_highest_frequencies_of_both() -> None:
    config = PLAIN.model_copy(update={"band_share": 1.0, "band_hz": (3400.0, 3401.0)})
    for values in mixer(config).batch(np.random.default_rng(0), 2):
        power = np.abs(np.fft.rfft(values)) ** 2
        low = power[:, 500:1600].mean()  # 1000…3200 Hz
        high = power[:, 3400:3800].mean()  # 6800…7600 Hz: an octave above
        assert -27 < 10 * np.log10(high / low) < -21


def test_rumble_joins_the_noise_below_its_limit_at_its_level() -> None:
    config = PLAIN.model_copy(
        update={"rumble_share": 1.0, "rumble_hz": (40.0, 40.0), "rumble_db": (10.0, 10.0)}
    )
    noisy, target = mixer(config).batch(np.random.default_rng(0), 8)
    power = np.abs(np.fft.rfft(noisy.astype(np.float64) - target)) ** 2
    low, high = power[:, :80].sum(1), power[:, 80:].sum(1)  # two octaves above the limit: 160 Hz
    assert np.abs(10 * np.log10(low / high) - 10).max() < 3  # the window cuts a random part of it
    same = mixer(PLAIN).batch(np.random.default_rng(0), 8)[1]
    np.testing.assert_allclose(
        target[0] / np.linalg.norm(target[0]), same[0] / np.linalg.norm(same[0]), atol=1e-5
    )


def test_a_level_step_changes_speech_and_noise_alike_until_it_comes() -> None:
    update = {"step_share": 0.5, "step_db": (-40.0, -40.0), "step_at": (0.5, 0.5)}
    noisy, target = mixer(PLAIN.model_copy(update=update)).batch(np.random.default_rng(0), 16)
    half = noisy.shape[1] // 2
    for sound in (target, noisy - target):
        rises = decibels(sound[:, half:]) - decibels(sound[:, :half])
        stepped = rises > 20
        assert 4 <= stepped.sum() <= 12
        assert np.abs(rises[stepped] - 40).max() < 8  # the sound itself is not even
        assert np.abs(rises[~stepped]).max() < 8


def test_late_speech_starts_with_silence() -> None:
    config = PLAIN.model_copy(update={"late_share": 1.0})
    _, target = mixer(config).batch(np.random.default_rng(1), 4)
    starts = [int(np.flatnonzero(np.abs(voice) > 1e-3)[0]) for voice in target]
    assert 400 < max(starts) < 4000


def test_fixed_mixtures_are_fixed_and_hear_everyone() -> None:
    speech, noise = recordings(4, 1.5, 1), recordings(3, 0.2, 2)
    one = mixing.fixed_mixtures(speech, noise, 12, 0.5, (-5, 10), RATE, seed=7)
    two = mixing.fixed_mixtures(speech, noise, 12, 0.5, (-5, 10), RATE, seed=7)
    assert all(np.array_equal(a.noisy, b.noisy) for a, b in zip(one, two, strict=True))
    assert len({pair.name for pair in one}) == 12
    levels = decibels(np.stack([pair.noisy for pair in one]))
    assert np.abs(levels - mixing.SCORED_DBFS).max() < 0.01


def test_fixed_mixtures_use_no_silence() -> None:
    """Neither a silent half of a recording nor a recording without a sound."""
    speech, noise = recordings(3, 2, 1), recordings(2, 2, 2)
    speech[0].samples[RATE:] = 0
    speech[1].samples[:] = 0
    noise[0].samples[RATE:] = 0
    pairs = mixing.fixed_mixtures(speech, noise, 24, 0.1, (-5, 10), RATE, seed=7)
    snr = [decibels(pair.clean) - decibels(pair.noisy - pair.clean) for pair in pairs]
    assert -5.1 < min(snr) < 0 and 5 < max(snr) < 10.1
    assert not [pair.name for pair in pairs if pair.name.startswith(speech[1].name)]
    with pytest.raises(BadInputError, match=r"1-1, .* are all silent"):
        mixing.fixed_mixtures(speech[1:2], noise, 1, 0.1, (-5, 10), RATE, seed=7)


def test_fixed_mixtures_name_what_is_heard() -> None:
    """A group's recordings are told apart by their level, which is all that they hold."""
    levels = {f"voice-{level}": level for level in (100, 200, 300)}
    speech = [Recording(n, "voice", np.full(900, v, np.int16)) for n, v in levels.items()]
    pairs = mixing.fixed_mixtures(speech, recordings(1, 1, 2), 12, 0.1, (0, 0), RATE, seed=7)
    assert len({pair.name for pair in pairs}) > 3
    for pair in pairs:
        voice, _, noise = pair.name.partition(" in ")
        told = {levels[name] for name in voice.split(" + ")}
        steps = np.unique(np.round(pair.clean / pair.clean.min(), 3))
        assert {round(level / min(told), 3) for level in told} == set(steps.tolist())
        assert noise == "2-0"


def test_rooms_are_read_from_the_default_datas_form(tmp_path: Path) -> None:
    path = tmp_path / "rooms.npz"
    np.savez(path, speech=np.ones((3, 4, 50), np.float32), rate=np.int64(RATE))
    assert [room.shape for room in read_rooms(path, RATE)] == [(50,)] * 12
    with pytest.raises(BadInputError, match="made for 16000 Hz, the recipe works at 8000 Hz"):
        read_rooms(path, 8000)
    np.savez(path, other=np.ones(3))
    with pytest.raises(BadInputError, match="holds no room responses"):
        read_rooms(path, RATE)


def _cut_off(path: Path) -> None:
    np.savez(path, speech=np.ones((3, 4, 50), np.float32), rate=np.int64(RATE))
    path.write_bytes(path.read_bytes()[:-100])


def _empty(path: Path) -> None:
    path.touch()


def _damaged(path: Path) -> None:
    """A byte inside a compressed member is another one."""
    random = np.random.default_rng(0).standard_normal((3, 4, 500)).astype(np.float32)
    np.savez_compressed(path, speech=random, rate=np.int64(RATE))
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("speech.npy").compress_size // 2
    content = bytearray(path.read_bytes())
    content[place : place + 50] = bytes(50)
    path.write_bytes(content)


def _renamed(path: Path) -> None:
    np.save(path.with_suffix(".npy"), np.ones((12, 50)))
    path.with_suffix(".npy").rename(path)


def _one_number(path: Path) -> None:
    np.savez(path, speech=np.float32(1), rate=np.int64(RATE))


@pytest.mark.parametrize("write", [_cut_off, _empty, _damaged, _renamed, _one_number])
def test_a_file_that_holds_no_rooms_is_named(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "rooms.npz")
    with pytest.raises(BadInputError, match=r"rooms\.npz: holds no room responses: "):
        read_rooms(tmp_path / "rooms.npz", RATE)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"snr_db": [15, -5]}, "15 is above -5: give the lower one first"),
        ({"snr_db": [float("-inf"), 0]}, "finite number"),
        ({"level_dbfs": [-10, -45]}, "-10 is above -45"),
        ({"speed": [1.14, 0.88]}, r"1\.14 is above 0\.88"),
        ({"speed": [0, 1]}, "greater than 0"),
        ({"band_hz": [-3400, 7500]}, "greater than 0"),
        ({"rumble_hz": [0, 60]}, "greater than 0"),
        ({"rumble_db": [15, -5]}, "15 is above -5"),
        ({"step_at": [0.1, 1.5]}, "less than or equal to 1"),
    ],
)
def test_ranges_that_cannot_be_are_refused(table: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Mixing.model_validate(table)
