"""Prompts, utterances, noise, rooms and the demo's scene."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.defaults import demo, noise, rooms, speech
from compress.defaults.seeds import stream
from compress.defaults.speech import RATE
from device.errors import BadInputError
from tests.compress import tiny_packages


def phrases(count: int, seed: int = 0) -> list[speech.Audio]:
    random = np.random.default_rng(seed)
    return [tiny_packages.voice(random.uniform(1.2, 5.0), random) for _ in range(count)]


def test_g722_is_decoded_at_16_khz() -> None:
    voice = tiny_packages.voice(1.0, np.random.default_rng(0))
    decoded = speech.decode_g722(tiny_packages.g722(voice))
    assert len(decoded) == len(voice)
    # the codec delays by 22 samples; what is left is its own noise
    error = decoded[22:] - voice[:-22]
    assert np.square(error).mean() < 0.02 * np.square(voice).mean()
    assert len(speech.decode_g722(b"")) == 0


def test_only_phrases_are_taken_for_speech() -> None:
    spoken = speech.prompts(tiny_packages.recordings(0))
    assert len(spoken) == tiny_packages.PROMPTS
    assert all(1.5 < len(audio) / RATE <= 2.0 for audio in spoken)


def test_silence_at_the_ends_is_trimmed() -> None:
    voice = np.ones(RATE, np.float32) * 0.1
    padded = np.concatenate((np.zeros(RATE, np.float32), voice, np.zeros(RATE // 2, np.float32)))
    np.testing.assert_array_equal(speech.trimmed(padded), voice)
    assert len(speech.trimmed(np.zeros(RATE, np.float32))) == 0


def test_no_prompt_is_in_two_pools() -> None:
    minutes = speech.Minutes(train=0.3, test=0.3, babble=0.1, test_babble=0.1, demo=0.1)
    pools = speech.pools(
        {"a": phrases(20, 1), "b": phrases(20, 2)}, {"c": phrases(20, 3)}, minutes, seed=0
    )
    every = [
        audio.tobytes()
        for pool in (pools.train, pools.test, pools.babble, pools.test_babble, pools.demo)
        for spoken in pool.values()
        for audio in spoken
    ]
    assert len(set(every)) == len(every)
    assert set(pools.train) == set(pools.babble) == set(pools.test_babble) == {"a", "b"}
    assert set(pools.test) == set(pools.demo) == {"c"}
    for spoken in pools.train.values():
        assert 0.3 <= sum(map(len, spoken)) / RATE / 60 < 0.3 + 5 / 60


def test_too_little_speech_is_said_in_one_line() -> None:
    with pytest.raises(BadInputError, match=r"june_fr: 0\.\d min of speech"):
        speech.pools({}, {"june_fr": phrases(3)}, speech.Minutes(), seed=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_utterances_keep_their_length_and_level(seed: int) -> None:
    for audio in speech.utterances(phrases(6, seed), np.random.default_rng(seed)):
        assert speech.SHORTEST * RATE <= len(audio) <= speech.LONGEST * RATE
        level = 10 * np.log10(np.square(audio, dtype=np.float64).mean())
        assert speech.LEVEL_DB[0] - 0.1 <= level <= speech.LEVEL_DB[1] + 0.1
        assert np.abs(audio).max() <= speech.PEAK + 1e-6
        assert audio[0] == audio[-1] == 0


@pytest.mark.parametrize("kind", noise.MAKERS)
def test_every_noise_is_finite_lasting_and_seeded(kind: str) -> None:
    samples = 4 * RATE
    sound = noise.MAKERS[kind](samples, stream(0, kind))
    assert sound.shape == (samples,)
    assert np.isfinite(sound).all()
    quarters = np.square(sound).reshape(4, -1).mean(axis=1)
    assert quarters.min() > 1e-3 * quarters.max()  # no quarter is silent beside another
    np.testing.assert_array_equal(sound, noise.MAKERS[kind](samples, stream(0, kind)))
    assert not np.array_equal(sound, noise.MAKERS[kind](samples, stream(1, kind)))


def test_coloured_noise_falls_as_its_name_says() -> None:
    for slope, wanted in ((0.0, 0.0), (1.0, -3.01), (2.0, -6.02)):
        sound = noise.coloured(2**18, slope, stream(0, "slope"))
        power = np.square(np.abs(np.fft.rfft(sound)))
        hertz = RATE / len(sound)
        low = power[int(500 / hertz) : int(1000 / hertz)].mean()
        high = power[int(1000 / hertz) : int(2000 / hertz)].mean()
        assert abs(10 * np.log10(high / low) - wanted) < 0.3


def test_babble_is_many_voices() -> None:
    voices = {"a": phrases(3, 1), "b": phrases(3, 2), "c": phrases(3, 3)}
    sound = noise.babble(4 * RATE, voices, stream(0, "babble"))
    assert sound.shape == (4 * RATE,)

    def unevenness(audio: speech.Audio | noise.Signal) -> float:
        power = np.square(audio[: len(audio) // 800 * 800]).reshape(-1, 800).mean(axis=1)
        return float(power.std() / power.mean())

    assert unevenness(sound) < unevenness(voices["a"][0])  # the pauses are filled


@pytest.fixture(scope="module")
def room() -> rooms.Room:
    return rooms.simulate(stream(0, "rooms", "test", 0))


def test_microphones_stand_four_centimetres_apart() -> None:
    places = rooms.microphones()
    neighbours = np.linalg.norm(places - np.roll(places, 1, axis=0), axis=1)
    np.testing.assert_allclose(neighbours, rooms.SPACING)
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-12)


def test_sound_travels_at_its_speed_and_decays_as_asked(room: rooms.Room) -> None:
    assert room.speech.shape == (4, rooms.TAPS)
    assert room.noise.shape == (rooms.NOISES, 4, rooms.TAPS)
    np.testing.assert_allclose(np.square(room.speech[0]).sum(), 1, rtol=1e-4)
    # the simulator delays everything by 40 samples: compare arrivals, not times
    places = room.array + rooms.microphones()
    distance = np.linalg.norm(room.sources[0] - places[0]) - np.linalg.norm(room.talker - places[0])
    arrivals = [int(np.flatnonzero(np.abs(r) > 0.3 * np.abs(r).max())[0]) for r in
                (room.noise[0, 0], room.speech[0])]  # fmt: skip
    assert abs((arrivals[0] - arrivals[1]) - distance / 343 * RATE) < 4
    left = np.cumsum(np.square(room.speech[0, ::-1], dtype=np.float64))[::-1]
    decay = 10 * np.log10(left / left[0] + 1e-12)
    t20 = 3 * (np.argmax(decay < -25) - np.argmax(decay < -5)) / RATE
    assert 0.6 * room.rt60 < t20 < 1.5 * room.rt60


def test_the_same_seed_gives_the_same_room(room: rooms.Room) -> None:
    again = rooms.simulate(stream(0, "rooms", "test", 0))
    assert room.speech.tobytes() == again.speech.tobytes()
    assert room.noise.tobytes() == again.noise.tobytes()
    other = rooms.simulate(stream(0, "rooms", "test", 1))
    assert room.speech.tobytes() != other.speech.tobytes()


def test_the_scene_has_the_promised_level(room: rooms.Room) -> None:
    scene = demo.scene(phrases(8), room, seed=0)
    samples = int(demo.SECONDS * RATE)
    assert scene.noisy.shape == (samples, 4)
    assert scene.clean.shape == (samples,)
    assert np.abs(scene.noisy).max() <= demo.PEAK + 1e-9
    noise_alone = scene.noisy[:, 0] - scene.clean
    snr = 10 * np.log10(np.square(scene.clean).sum() / np.square(noise_alone).sum())
    assert abs(snr - demo.SNR_DB) < 0.01
    assert np.abs(scene.clean[: int(demo.LEAD * RATE)]).max() < 1e-6  # noise alone at first


def test_diffuse_noise_is_less_alike_at_high_frequencies() -> None:
    field = demo.diffuse(8 * RATE, stream(0, "diffuse"))
    first, across = (np.fft.rfft(field[:, m].reshape(-1, 512), axis=1) for m in (0, 2))
    cross = np.abs((first * across.conj()).mean(axis=0))
    alike = cross / np.sqrt((np.abs(first) ** 2).mean(axis=0) * (np.abs(across) ** 2).mean(axis=0))
    hertz = np.fft.rfftfreq(512, 1 / RATE)
    assert alike[(hertz > 60) & (hertz < 400)].mean() > 0.9
    assert alike[(hertz > 3000) & (hertz < 6000)].mean() < 0.5
