"""The demo's scene: a voice training never heard, in a room, at four microphones, in noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from compress.defaults import noise
from compress.defaults.rooms import Room, microphones
from compress.defaults.seeds import stream
from compress.defaults.speech import RATE, Audio, utterances

SECONDS = 20.0
LEAD = 0.5  # seconds of noise before the first word
PAUSE = 0.5  # seconds between utterances
SNR_DB = 4.0  # speech to all noise at microphone 0, over the whole scene
DIFFUSE_DB = -8.0  # noise from everywhere, relative to the noise source
DIRECTIONS = 32  # plane waves that make up the noise from everywhere
PEAK = 0.7
SOUND_SPEED = 343.0  # metres per second

Signal = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """Microphone signals [samples, 4] and the clean reverberant voice at microphone 0."""

    noisy: Signal
    clean: Signal


def scene(spoken: Sequence[Audio], room: Room, seed: int) -> Scene:
    """A voice in a room, an engine in the rain at another place, faint noise from everywhere."""
    samples = int(SECONDS * RATE)
    voice = _talk(spoken, samples, stream(seed, "demo", "voice"))
    random = stream(seed, "demo", "noise")
    motor, drops = noise.engine(samples, random), noise.rain(samples, random)
    source = motor / motor.std() + 0.5 * drops / drops.std()
    speech = _heard(voice, room.speech)
    placed = _heard(source, room.noise[0])
    around = diffuse(samples, random)
    noisy_part = placed / placed[:, 0].std() + around * 10 ** (DIFFUSE_DB / 20)
    noisy_part *= speech[:, 0].std() / noisy_part[:, 0].std() * 10 ** (-SNR_DB / 20)
    mixture = speech + noisy_part
    gain = PEAK / np.abs(mixture).max()
    return Scene(mixture * gain, speech[:, 0] * gain)


def diffuse(samples: int, random: np.random.Generator) -> Signal:
    """Pink noise [samples, 4] from every direction at once, unit variance at microphone 0."""
    direction = random.standard_normal((DIRECTIONS, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    delay = -(direction @ microphones().T) / SOUND_SPEED  # [direction, microphone], seconds
    frequency = np.fft.rfftfreq(samples, 1 / RATE)
    spectrum = np.zeros((len(frequency), delay.shape[1]), np.complex128)
    for delays in delay:
        wave = np.fft.rfft(noise.coloured(samples, 1.0, random))
        spectrum += wave[:, None] * np.exp(-2j * np.pi * frequency[:, None] * delays)
    field = np.fft.irfft(spectrum, samples, axis=0)
    return np.asarray(field / field[:, 0].std())


def _talk(spoken: Sequence[Audio], samples: int, random: np.random.Generator) -> Signal:
    """Utterances with pauses between them."""
    voice = np.zeros(samples)
    start = int(LEAD * RATE)
    for audio in utterances(spoken, random):
        part = audio[: samples - start]
        voice[start : start + len(part)] = part / audio.std()
        start += len(audio) + int(PAUSE * RATE)
        if start >= samples:
            break
    return voice


def _heard(source: Signal, responses: NDArray[np.float32]) -> Signal:
    """A source [samples] through responses [microphone, tap] → [samples, microphone]."""
    heard = [fftconvolve(source, response)[: len(source)] for response in responses]
    return np.stack(heard, axis=1)


def build(folder: Path, spoken: Sequence[Audio], room: Room, seed: int) -> None:
    """Write speech-noisy-4ch.wav and speech-clean.wav (16 kHz, 16 bit, aligned)."""
    folder.mkdir(parents=True)
    made = scene(spoken, room, seed)
    soundfile.write(folder / "speech-noisy-4ch.wav", made.noisy, RATE, subtype="PCM_16")
    soundfile.write(folder / "speech-clean.wav", made.clean, RATE, subtype="PCM_16")
