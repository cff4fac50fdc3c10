"""Noise: babble of many voices, and sounds of weather and machines made from random numbers.

Every maker has the same form: (samples, random) → audio of any level; `build` sets the level.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, sosfilt

from compress.defaults.seeds import stream
from compress.defaults.speech import RATE, Audio, levelled

SECONDS = 10.0
LEVEL_DB = (-30.0, -22.0)  # RMS re full scale
VOICES = (4, 8)  # of one babble, both included

Signal = NDArray[np.float64]
Maker = Callable[[int, np.random.Generator], Signal]


def coloured(samples: int, slope: float, random: np.random.Generator) -> Signal:
    """Gaussian noise whose power falls as 1/f^slope: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    frequency = np.maximum(np.fft.rfftfreq(samples, 1 / RATE), 20.0)
    shaped = np.fft.irfft(spectrum * frequency ** (-slope / 2), samples)
    return np.asarray(shaped / shaped.std())


def white(samples: int, random: np.random.Generator) -> Signal:
    """Hiss."""
    return coloured(samples, random.uniform(-0.2, 0.2), random)


def pink(samples: int, random: np.random.Generator) -> Signal:
    """As much power in every octave: water, leaves, distant traffic."""
    return coloured(samples, random.uniform(0.8, 1.2), random)


def brown(samples: int, random: np.random.Generator) -> Signal:
    """Rumble."""
    return coloured(samples, random.uniform(1.7, 2.3), random)


def hum(samples: int, random: np.random.Generator) -> Signal:
    """Mains hum with harmonics over faint hiss."""
    time = np.arange(samples) / RATE
    mains = random.choice((50.0, 60.0)) * random.uniform(0.998, 1.002)
    sound = 0.05 * coloured(samples, 1.0, random)
    for harmonic in range(1, 31):
        strength = random.uniform(0.2, 1.0) * harmonic ** -random.uniform(0.5, 1.5)
        sound += strength * np.sin(2 * np.pi * (mains * harmonic * time + random.random()))
    return np.asarray(sound * (1 + 0.1 * slow(samples, 0.5, random)))


def rain(samples: int, random: np.random.Generator) -> Signal:
    """A bed of band-passed hiss and thousands of short drops."""
    drops = random.poisson(random.uniform(50, 400) * samples / RATE)
    hits = np.zeros(samples)
    hits[random.integers(0, samples, drops)] = random.gamma(1.0, 1.0, drops)
    decay = np.exp(-np.arange(240) / random.uniform(10, 60))
    splash = fftconvolve(hits, decay * random.standard_normal(240))[:samples]
    bed = band(coloured(samples, 0.5, random), random.uniform(300, 900), 7000)
    weight = random.uniform(0.3, 1.0)
    swell = 1 + 0.2 * slow(samples, 0.3, random)
    return np.asarray(bed * swell + weight * splash / (splash.std() + 1e-9))


def wind(samples: int, random: np.random.Generator) -> Signal:
    """Low rumble that swells and falls in gusts, brighter when it is stronger."""
    swell = np.clip(slow(samples, random.uniform(0.3, 1.5), random), -2, 2)
    gust = np.exp(0.6 * swell)
    rumble = band(coloured(samples, 1.5, random), 30, random.uniform(200, 500))
    whistle = band(coloured(samples, 1.0, random), 400, random.uniform(1200, 2500))
    air = rumble / rumble.std() + 0.15 * gust * whistle / whistle.std()
    return np.asarray(gust * air)


def engine(samples: int, random: np.random.Generator) -> Signal:
    """Firing pulses of a wandering speed through resonances, and the roar they modulate."""
    warm = RATE // 2  # the resonances need some time to ring as they will
    length = samples + warm
    speed = random.uniform(20, 80) * (1 + 0.05 * slow(length, 0.5, random))  # firings per second
    pulses = np.exp(4 * (np.cos(2 * np.pi * np.cumsum(speed) / RATE) - 1))
    body = np.zeros(length)
    for centre in random.uniform(80, 1800, 5):
        body += random.uniform(0.3, 1.0) * band(pulses, centre * 0.7, centre * 1.4)
    roar = pulses * band(coloured(length, 1.0, random), 100, 3000)
    sound = body / body[warm:].std() + random.uniform(0.2, 0.6) * roar / roar[warm:].std()
    return np.asarray(sound[warm:])


def clicks(samples: int, random: np.random.Generator) -> Signal:
    """Irregular knocks and clicks of small hard things over faint rumble."""
    sound = 0.02 * coloured(samples, 1.0, random)
    for start in random.integers(0, samples, random.poisson(random.uniform(2, 12) * SECONDS)):
        length = min(int(random.uniform(0.01, 0.12) * RATE), samples - start)
        time = np.arange(length) / RATE
        ring = np.sin(2 * np.pi * random.uniform(200, 5000) * time)
        ring += random.uniform(0, 1) * random.standard_normal(length)
        sound[start : start + length] += (
            random.uniform(0.1, 1.0) * ring * np.exp(-time * random.uniform(30, 400))
        )
    return sound


def slow(samples: int, rate: float, random: np.random.Generator) -> Signal:
    """A smooth random curve of unit variance that wanders about `rate` times a second."""
    points = max(int(np.ceil(samples / RATE * rate * 2)) + 2, 4)
    where = np.linspace(0, points - 1, samples)
    left = np.minimum(where.astype(int), points - 2)
    ease = (1 - np.cos(np.pi * (where - left))) / 2
    values = random.standard_normal(points)
    return np.asarray(values[left] * (1 - ease) + values[left + 1] * ease)


def band(audio: Signal, low: float, high: float) -> Signal:
    """Second-order band-pass between two frequencies, Hz."""
    sections = butter(2, (low, min(high, RATE * 0.45)), "bandpass", fs=RATE, output="sos")
    return np.asarray(sosfilt(sections, audio))


def babble(
    samples: int, voices: Mapping[str, Sequence[Audio]], random: np.random.Generator
) -> Signal:
    """Several people talking at once, each at a level of their own."""
    names = sorted(voices)
    sound = np.zeros(samples)
    for talker in range(int(random.integers(VOICES[0], VOICES[1] + 1))):
        spoken = voices[names[talker % len(names)]]
        joined = np.concatenate([spoken[i] for i in random.permutation(len(spoken))])
        line = np.resize(np.roll(joined, -int(random.integers(len(joined)))), samples)
        sound += line / (line.std() + 1e-9) * 10 ** (random.uniform(-6, 0) / 20)
    return sound


MAKERS: dict[str, Maker] = {
    "white": white,
    "pink": pink,
    "brown": brown,
    "hum": hum,
    "rain": rain,
    "wind": wind,
    "engine": engine,
    "clicks": clicks,
}


def build(
    folder: Path,
    voices: Mapping[str, Mapping[str, Sequence[Audio]]],
    counts: Mapping[str, tuple[int, int]],
    seed: int,
    tick: Callable[[float], None],
) -> dict[str, int]:
    """Write {train,test}/<kind>-<nnn>.flac; return the number of files per split.

    `voices`: split → speaker → prompts for babble. `counts`: split → (babbles, files of each
    other kind).
    """
    samples = int(SECONDS * RATE)
    jobs: list[tuple[str, str, int]] = []
    for split, (babbles, each) in counts.items():
        (folder / split).mkdir(parents=True)
        jobs += [(split, "babble", number) for number in range(1, babbles + 1)]
        jobs += [(split, kind, number) for kind in MAKERS for number in range(1, each + 1)]
    for done, (split, kind, number) in enumerate(jobs):
        random = stream(seed, "noise", split, kind, number)
        if kind == "babble":
            sound = babble(samples, voices[split], random)
        else:
            sound = MAKERS[kind](samples, random)
        audio = levelled(sound.astype(np.float32), random.uniform(*LEVEL_DB))
        path = folder / split / f"{kind}-{number:03d}.flac"
        soundfile.write(path, audio, RATE, subtype="PCM_16")
        tick((done + 1) / len(jobs))
    return {split: sum(job[0] == split for job in jobs) for split in counts}
