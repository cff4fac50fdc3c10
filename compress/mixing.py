"""Training mixtures made on the fly: no two epochs hear the same sound.

x = clip(g · (s + a·n)),  y = g · s     s = q · E_s(r * speech), n = q · E_n(noise)

r    room impulse response (none for most examples). The target keeps the room: it is the
     reverberant image of the speech at the microphone
E    colouring: a smooth random gain over frequency, and at times the band limit of a poor
     microphone, or rumble under the noise: wind, traffic and handling reach microphones below the
     voice, at times far louder than it, and most recorded noise has been freed of them
q    one, or a level step: another gain until a random moment, the same for speech and noise. A
     network that hears levels against a running mean must find its way back after one
a    a² = Σs² / (Σn² · 10^(SNR/10)): the wanted signal-to-noise ratio, exact over the example
g    brings s + a·n to the wanted level; what leaves −1…1 then is clipped in x, not in y
"""

from collections.abc import Iterator, Sequence

import numpy as np
import soxr
from numpy.typing import NDArray
from pydantic import Field

from compress.intervals import PositiveRange, Range, ShareRange
from compress.speech import SILENT, Pair, Recording, Samples, by_group, fill
from device.errors import BadInputError
from device.manifest import Frozen

Batch = NDArray[np.float32]  # [example, time]

TINY = 1e-10  # energy of a silent example: keeps quotients finite
SCORED_DBFS = -26.0  # level of the fixed mixtures
DRAWS = 100  # of a group's stretches, before it is taken for silent
ROOM_SECONDS = 0.5  # impulse responses are cut there
COLOUR_POINTS = 6  # where the colouring gains are drawn, evenly over log frequency
COLOUR_LOWEST = 60.0  # Hz
ROLL_OFF = 24.0  # dB per octave above a band limit


class Mixing(Frozen):
    """How training mixtures vary."""

    seconds: float = Field(3.0, gt=0, description="length of one example")
    remixes: int = Field(
        1,
        ge=1,
        description="batches in a row of the same voices and noises, in new pairs and levels",
    )
    snr_db: Range = (-5.0, 15.0)
    level_dbfs: Range = Field((-45.0, -10.0), description="RMS level of the mixture")
    speed: PositiveRange = Field(
        (0.88, 1.14), description="playing speed of the speech: pitch and tempo"
    )
    speed_share: float = Field(0.7, ge=0, le=1, description="share of examples with changed speed")
    late_share: float = Field(0.15, ge=0, le=1, description="share where speech starts later")
    two_noises_share: float = Field(0.3, ge=0, le=1)
    room_share: float = Field(0.3, ge=0, le=1)
    colour_db: float = Field(5.0, ge=0, description="largest gain of the random colouring")
    band_share: float = Field(0.15, ge=0, le=1, description="share of band-limited examples")
    band_hz: PositiveRange = (3400.0, 7500.0)
    step_share: float = Field(0, ge=0, le=1, description="share of examples with a level step")
    step_db: Range = Field((-45.0, 10.0), description="of the sound before the step")
    step_at: ShareRange = Field(
        (0.1, 0.6), description="where the step is, as a part of the example"
    )
    rumble_share: float = Field(0, ge=0, le=1, description="share of examples with rumble added")
    rumble_db: Range = Field((-5.0, 15.0), description="of the rumble, against the noise it joins")
    rumble_hz: PositiveRange = Field((20.0, 60.0), description="above it, rumble falls off")


class Mixer:
    """Draws mixtures from recordings.

    Args:
        speech, noise: what to draw from; a group's chance grows with the root of its length.
        rooms: impulse responses [n][taps]; may be empty.
        rate: Hz of all of them.
    """

    def __init__(
        self,
        speech: Sequence[Recording],
        noise: Sequence[Recording],
        config: Mixing,
        rate: int,
        rooms: Sequence[Samples] = (),
    ) -> None:
        self._speech, self._speech_chances = by_group(speech)
        self._noise, self._noise_chances = by_group(noise)
        self._config, self._rate = config, rate
        self._taps = int(ROOM_SECONDS * rate)
        self._rooms = [room[: self._taps] for room in rooms]
        self.length = int(config.seconds * rate)

    def epoch(
        self, epoch: int, seed: int, steps: int, examples: int
    ) -> Iterator[tuple[Batch, Batch]]:
        """So many batches, the same for the same epoch and seed."""
        random = np.random.default_rng([seed, epoch])
        for step in range(steps):
            if step % self._config.remixes == 0:
                target, noise = self._sounds(random, examples)
            yield self._mixed(random, target, np.roll(noise, step % self._config.remixes, 0))

    def batch(self, random: np.random.Generator, examples: int) -> tuple[Batch, Batch]:
        """`examples` mixtures and their targets, [example, time] each."""
        return self._mixed(random, *self._sounds(random, examples))

    def _mixed(
        self, random: np.random.Generator, target: Batch, noise: Batch
    ) -> tuple[Batch, Batch]:
        examples = len(target)
        gains = self._steps(random, examples)
        return mix(
            target * gains,
            noise * gains,
            random.uniform(*self._config.snr_db, examples),
            random.uniform(*self._config.level_dbfs, examples),
        )

    def _sounds(self, random: np.random.Generator, examples: int) -> tuple[Batch, Batch]:
        """Voices in their rooms and noises, [example, time] each."""
        config = self._config
        speech = np.stack([self._voice(random) for _ in range(examples)])
        noise = np.stack([self._noises(random) for _ in range(examples)])
        size = self.length + self._taps  # linear, not circular, convolution
        bins = size // 2 + 1
        limit = self._band(random, examples, bins)
        rooms = np.zeros((examples, self._taps), np.float32)
        rooms[:, 0] = 1
        for example in np.flatnonzero(random.random(examples) < config.room_share):
            if self._rooms:
                room = self._rooms[random.integers(len(self._rooms))]
                rooms[example, : len(room)] = room
                rooms[example, len(room) :] = 0
        spectrum = np.fft.rfft(speech, size) * np.fft.rfft(rooms, size)
        spectrum *= limit * self._colour(random, examples, bins)
        target = np.fft.irfft(spectrum, size)[:, : self.length].astype(np.float32)
        spectrum = np.fft.rfft(noise, size) * (limit * self._colour(random, examples, bins))
        if config.rumble_share:
            spectrum += self._rumble(random, spectrum)
        noise = np.fft.irfft(spectrum, size)[:, : self.length].astype(np.float32)
        return target, noise

    def _steps(self, random: np.random.Generator, examples: int) -> Batch:
        """Gains [example, time], or [1, 1] where no example has a step."""
        config = self._config
        if not config.step_share:
            return np.ones((1, 1), np.float32)
        stepped = random.random(examples) < config.step_share
        decibels = random.uniform(*config.step_db, examples) * stepped
        ends = random.uniform(*config.step_at, examples) * self.length
        before = np.arange(self.length) < ends[:, None]
        return (10 ** (decibels[:, None] * before / 20)).astype(np.float32)

    def _voice(self, random: np.random.Generator) -> Samples:
        """Speech of one speaker, utterance after utterance until the example is full."""
        config = self._config
        speaker = self._speech[random.choice(len(self._speech), p=self._speech_chances)]
        changed = random.random() < config.speed_share
        speed = random.uniform(*config.speed) if changed else 1.0
        voice, _ = fill(random, speaker, int(np.ceil(self.length * speed)))
        if changed:
            voice = soxr.resample(voice, self._rate * speed, self._rate, quality="LQ")
        voice = np.pad(voice, (0, max(0, self.length - len(voice))))[: self.length]
        if random.random() < config.late_share:
            start = random.integers(self.length // 2)
            voice = np.concatenate((np.zeros(start, np.float32), voice[: self.length - start]))
        return voice

    def _noises(self, random: np.random.Generator) -> Samples:
        count = 2 if random.random() < self._config.two_noises_share else 1
        total = np.zeros(self.length, np.float32)
        for index in random.choice(len(self._noise), count, p=self._noise_chances):
            noise, _ = fill(random, self._noise[index], self.length)
            total += noise / np.sqrt(np.mean(noise**2) + TINY) * random.uniform(0.3, 1)
        return total

    def _frequencies(self, bins: int) -> NDArray[np.float64]:
        return np.linspace(0, self._rate / 2, bins)

    def _colour(self, random: np.random.Generator, examples: int, bins: int) -> Batch:
        """Gains [example, bin]: drawn at a few frequencies, straight lines in dB between them."""
        octave = np.log2(np.maximum(self._frequencies(bins), COLOUR_LOWEST))
        points = np.linspace(octave[0], octave[-1], COLOUR_POINTS)
        limit = self._config.colour_db
        gains = random.uniform(-limit, limit, (examples, COLOUR_POINTS))
        decibels = np.stack([np.interp(octave, points, gain) for gain in gains])
        return (10 ** (decibels / 20)).astype(np.float32)

    def _band(self, random: np.random.Generator, examples: int, bins: int) -> Batch:
        """Low-pass gains [example, bin], one for examples that keep their band."""
        limited = random.random(examples) < self._config.band_share
        limits = random.uniform(*self._config.band_hz, examples)
        return self._low_pass(limits, bins) ** limited[:, None].astype(np.float32)

    def _rumble(
        self, random: np.random.Generator, noise: NDArray[np.complex128]
    ) -> NDArray[np.complex128]:
        """Spectra [example, bin] to add to those of the noise: low-passed Gaussian noise."""
        examples, bins = noise.shape
        config = self._config
        limits = np.asarray(random.uniform(*config.rumble_hz, examples))
        shape = self._low_pass(limits, bins)
        parts = random.standard_normal((2, *noise.shape))
        rumble = (parts[0] + 1j * parts[1]) * shape
        decibels = random.uniform(*config.rumble_db, examples)
        spread = np.sqrt((self.length + self._taps) / self.length)  # it also fills the padding
        gain = 10 ** (decibels / 20) * spread * np.linalg.norm(noise, axis=1)
        gain *= random.random(examples) < config.rumble_share
        added: NDArray[np.complex128] = rumble * (gain / np.linalg.norm(rumble, axis=1))[:, None]
        return added

    def _low_pass(self, limits: NDArray[np.float64], bins: int) -> Batch:
        """Gains [example, bin] that fall off above each example's limit in Hz."""
        octaves = np.log2(np.maximum(self._frequencies(bins), 1)[None] / limits[:, None])
        return (10 ** (-ROLL_OFF * np.maximum(octaves, 0) / 20)).astype(np.float32)


def mix(
    speech: Batch,
    noise: Batch,
    snr_db: NDArray[np.float64],
    level_dbfs: NDArray[np.float64],
) -> tuple[Batch, Batch]:
    """Noisy and target [example, time] at exact SNR and level; the noisy one clips at ±1."""
    power = np.mean(speech.astype(np.float64) ** 2, 1)
    noise_power = np.mean(noise.astype(np.float64) ** 2, 1) + TINY
    gain = np.sqrt((power + TINY) / (noise_power * 10 ** (snr_db / 10)))
    noisy = speech + gain[:, None] * noise
    level = 10 ** (level_dbfs / 20) / np.sqrt(np.mean(noisy**2, 1) + TINY)
    return (
        np.clip(noisy * level[:, None], -1, 1).astype(np.float32),
        (speech * level[:, None]).astype(np.float32),
    )


def fixed_mixtures(
    speech: Sequence[Recording],
    noise: Sequence[Recording],
    count: int,
    seconds: float,
    snr_db: Range,
    rate: int,
    seed: int,
) -> list[Pair]:
    """The same mixtures for the same arguments, to score with: no colouring, −26 dBFS.

    Speakers and noise files take turns, so that `count` mixtures hear as many as there are. No part
    of a recording is used that is silent: it would leave a mixture that cannot be scored.

    Raises:
        BadInputError: all speech or all noise is silent.
    """
    random = np.random.default_rng(seed)
    voices, _ = by_group(speech)
    noises, _ = by_group(noise)
    voices = [voices[i] for i in random.permutation(len(voices))]
    noises = [noises[i] for i in random.permutation(len(noises))]
    length = int(seconds * rate)
    pairs = []
    for index in range(count):
        voice, voice_name = _sounding(random, voices, index, length)
        sound, sound_name = _sounding(random, noises, index, length)
        noisy, clean = mix(
            voice[None],
            sound[None],
            random.uniform(*snr_db, 1),
            np.array([SCORED_DBFS]),
        )
        pairs.append(Pair(f"{voice_name} in {sound_name}", noisy[0], clean[0]))
    return pairs


def _sounding(
    random: np.random.Generator, groups: Sequence[Sequence[Recording]], turn: int, length: int
) -> tuple[Samples, str]:
    """`fill` by the group whose turn it is, or the next where nothing of it sounds."""
    for group in range(turn, turn + len(groups)):
        for _ in range(DRAWS):
            found, name = fill(random, groups[group % len(groups)], length)
            if np.mean(found**2) > SILENT:
                return found, name
    raise BadInputError(f"{groups[0][0].name}, …: recordings to score with are all silent")
