"""Studio speech: telephone prompts of five recordings by four voices, as 16 kHz utterances.

The French voice is heard in the test set and in the demo only. The English and the Spanish
recordings are one woman's, so both belong on the same side.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from compress.defaults.packages import Package
from compress.defaults.seeds import stream
from device.errors import BadInputError

RATE = 16_000  # Hz
SHORTEST_PROMPT = 1.0  # seconds; shorter ones are digits, letters and beeps
SHORTEST, LONGEST = 3.0, 8.0  # seconds of one utterance
GAP = (0.15, 0.4)  # seconds of silence between two prompts
EDGE = 0.01  # seconds of fade where an utterance is cut
SILENCE = 1e-3  # peak below which a prompt holds no speech
FLOOR_DB = -45.0  # edges this far below the loudest 20 ms are trimmed
LEVEL_DB = (-30.0, -22.0)  # RMS of an utterance, re full scale
PEAK = 0.95
NOT_SPEECH = ("beep", "-2tone", "silence", "tt-monkeys")

Audio = NDArray[np.float32]

# speaker → package; the licence is the one its copyright file gives this recording
TRAIN = {
    "allison_en": Package("asterisk-core-sounds-en-g722", "Debian", "CC-BY-SA-3.0"),
    "allison_es": Package("asterisk-core-sounds-es-g722", "Debian", "CC-BY-SA-3.0"),
    "carlo_it": Package("asterisk-core-sounds-it-g722", "Debian", "CC-BY-3.0"),
    "ivrvoice_ru": Package("asterisk-core-sounds-ru-g722", "Debian", "CC-BY-3.0"),
}
TEST = {"june_fr": Package("asterisk-core-sounds-fr-g722", "Debian", "CC-BY-SA-3.0")}
PACKAGE_FOLDER = "usr/share/asterisk/sounds"


@dataclass(frozen=True)
class Minutes:
    """How much audio goes into each pool, minutes per speaker."""

    train: float = 5.0
    test: float = 3.0
    babble: float = 2.5
    test_babble: float = 1.0
    demo: float = 0.6


@dataclass(frozen=True)
class Pools:
    """Prompts by purpose, speaker → audio. No prompt is in two pools."""

    train: dict[str, list[Audio]]
    test: dict[str, list[Audio]]
    babble: dict[str, list[Audio]]
    test_babble: dict[str, list[Audio]]
    demo: dict[str, list[Audio]]


def decode_g722(content: bytes) -> Audio:
    """G.722 bytes → samples at 16 kHz in −1…1; nothing for an empty recording."""
    if not content:
        return np.zeros(0, np.float32)
    with av.open(io.BytesIO(content), "r", format="g722") as container:
        blocks = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    if not blocks:
        return np.zeros(0, np.float32)
    return np.concatenate(blocks).astype(np.float32) / np.float32(32768)


def trimmed(audio: Audio) -> Audio:
    """Without silence at either end; empty when there is no speech at all."""
    frame = RATE // 50
    count = len(audio) // frame
    if count == 0 or np.abs(audio).max() < SILENCE:
        return audio[:0]
    power = np.square(audio[: count * frame].reshape(count, frame)).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (FLOOR_DB / 10))
    return audio[loud[0] * frame : (loud[-1] + 1) * frame]


def prompts(recordings: Mapping[str, bytes]) -> list[Audio]:
    """The recordings (path → G.722) that hold a spoken phrase, decoded and trimmed."""
    spoken = []
    for path in sorted(recordings):
        parts = PurePosixPath(path).parts
        if any(word in part for word in NOT_SPEECH for part in parts):
            continue
        audio = trimmed(decode_g722(recordings[path]))
        if len(audio) >= SHORTEST_PROMPT * RATE:
            spoken.append(audio)
    return spoken


def pools(
    train: Mapping[str, Sequence[Audio]],
    test: Mapping[str, Sequence[Audio]],
    minutes: Minutes,
    seed: int,
) -> Pools:
    """Deal each speaker's prompts, shuffled, to the pools until each has its minutes.

    Raises BadInputError if a speaker has too few prompts for all of them.
    """
    parted = Pools({}, {}, {}, {}, {})
    for speaker, spoken in train.items():
        shares = _deal(
            speaker,
            spoken,
            (minutes.train, minutes.babble, minutes.test_babble),
            stream(seed, "prompts", speaker),
        )
        parted.train[speaker], parted.babble[speaker], parted.test_babble[speaker] = shares
    for speaker, spoken in test.items():
        wanted = (minutes.test, minutes.demo)
        shares = _deal(speaker, spoken, wanted, stream(seed, "prompts", speaker))
        parted.test[speaker], parted.demo[speaker] = shares
    return parted


def _deal(
    speaker: str,
    spoken: Sequence[Audio],
    minutes: Sequence[float],
    random: np.random.Generator,
) -> list[list[Audio]]:
    order = iter(random.permutation(len(spoken)))
    shares: list[list[Audio]] = []
    for wanted in minutes:
        share: list[Audio] = []
        while sum(map(len, share)) < wanted * 60 * RATE:
            index = next(order, None)
            if index is None:
                break
            share.append(spoken[index])
        shares.append(share)
    if not all(shares):
        found = sum(map(len, spoken)) / RATE / 60
        raise BadInputError(
            f"{speaker}: {found:.1f} min of speech in the package, and {sum(minutes):.1f} min are "
            "needed; this version of it cannot be used: bring your own data with --data DIR"
        )
    return shares


def utterances(spoken: Sequence[Audio], random: np.random.Generator) -> Iterator[Audio]:
    """Join prompts with short pauses into utterances of 3–8 s; each prompt is used once."""
    pending = np.zeros(0, np.float32)
    wanted = random.uniform(SHORTEST, LONGEST)
    for prompt in spoken:
        pause = np.zeros(int(random.uniform(*GAP) * RATE), np.float32)
        pending = np.concatenate((pending, pause, prompt)) if len(pending) else prompt
        while len(pending) >= wanted * RATE:
            cut = int(min(len(pending), LONGEST * RATE))
            yield levelled(faded(pending[:cut]), random.uniform(*LEVEL_DB))
            pending = pending[cut:]
            if len(pending) < SHORTEST_PROMPT * RATE:
                pending = pending[:0]
            wanted = random.uniform(SHORTEST, LONGEST)


def faded(audio: Audio) -> Audio:
    """The audio with a short fade at both ends, so that no cut clicks."""
    ramp = np.linspace(0, 1, int(EDGE * RATE), dtype=np.float32)
    smooth = audio.copy()
    smooth[: len(ramp)] *= ramp
    smooth[-len(ramp) :] *= ramp[::-1]
    return smooth


def levelled(audio: Audio, rms_db: float) -> Audio:
    """The audio at this RMS (dB re full scale), or as near below it as its peaks allow."""
    rms = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
    peak = float(np.abs(audio).max())
    gain = min(10 ** (rms_db / 20) / max(rms, 1e-9), PEAK / max(peak, 1e-9))
    return (audio * np.float32(gain)).astype(np.float32)


def build(folder: Path, parted: Pools, seed: int, tick: Callable[[float], None]) -> dict[str, int]:
    """Write {train,test}/<speaker>-<nnn>.flac; return the number of files per split."""
    written = {}
    splits = {"train": parted.train, "test": parted.test}
    for done, (split, speakers) in enumerate(splits.items()):
        (folder / split).mkdir(parents=True)
        written[split] = 0
        for speaker, spoken in speakers.items():
            random = stream(seed, "speech", split, speaker)
            for number, audio in enumerate(utterances(spoken, random), 1):
                path = folder / split / f"{speaker}-{number:03d}.flac"
                soundfile.write(path, audio, RATE, subtype="PCM_16")
                written[split] += 1
        tick((done + 1) / len(splits))
    return written
