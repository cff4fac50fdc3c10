"""Speech and noise recordings: mono, one sample rate, int16.

Folders of the usual forms: clean speech and noise (any tree of flac, wav or ogg files), or pairs
(`clean/` and `noisy/` with the same file names, or with DNS's). A recording's group is what a split
must not cut through: the speaker for speech, the recording for noise.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from device.errors import BadInputError

SUFFIXES = (".flac", ".wav", ".ogg")
FULL_SCALE = 32768.0
SILENT = 1e-9  # mean square of a sound without speech: it has no SI-SDR
LONGEST = 2**40  # frames; more is a FLAC that was streamed, and libsndfile's way to say "unknown"

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """One file's sound. `samples` is int16: a quarter of the memory of float64, half of float32."""

    name: str
    group: str
    samples: NDArray[np.int16]

    def part(self, start: int, length: int) -> Samples:
        """Samples as float32 in −1…1; shorter than `length` at the end of the recording."""
        return self.samples[start : start + length].astype(np.float32) / np.float32(FULL_SCALE)


@dataclass(frozen=True)
class Pair:
    """A noisy recording and its clean reference, aligned, float32 in −1…1."""

    name: str
    noisy: Samples
    clean: Samples


@dataclass(frozen=True)
class Split:
    """Recordings whose groups are disjoint between the parts."""

    train: tuple[Recording, ...]
    validation: tuple[Recording, ...]
    test: tuple[Recording, ...]


@dataclass(frozen=True)
class Side:
    """What `split` cuts, in the words of its message: a file's group is not plain to see."""

    name: str
    groups: str
    rule: str


SPEECH = Side(
    "speech", "speakers", 'a speaker is a file name up to its first "-" or "_", or reader_N in it'
)
NOISE = Side(
    "noise",
    "noises",
    "a noise is a file, but takes such as rain-A, rain-B are one, and so are pairs of one in a log",
)


def read_audio(path: Path, rate: int) -> Samples:
    """A file as mono float32 [n] at `rate` Hz, whatever its own rate and channels.

    Raises:
        BadInputError: not a sound file, no samples, or samples that are NaN or infinite.
    """
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames > LONGEST:
                raise BadInputError(f"{path}: does not say how long it is: encode it anew")
            samples, own_rate = file.read(dtype="float32", always_2d=True), file.samplerate
    except (OSError, soundfile.LibsndfileError) as error:
        raise BadInputError(f"{path}: cannot be read as sound: {error}") from error
    if not np.isfinite(samples).all():
        raise BadInputError(f"{path}: holds samples that are not finite")
    mono: Samples = samples.mean(1)
    if own_rate != rate:
        mono = soxr.resample(mono, own_rate, rate)
    if not len(mono):  # a sample or two may be none at a lower rate
        raise BadInputError(f"{path}: holds no samples")
    return mono


def sound_files(folder: Path) -> list[Path]:
    """Every sound file below a folder, in order of name.

    Raises:
        BadInputError: no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise BadInputError(f"{folder}: no such folder of sound files")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise BadInputError(f"{folder}: no sound files ({', '.join(SUFFIXES)}) in it")
    return found


def read_speech(folder: Path, rate: int) -> Iterator[Recording]:
    """Clean speech, grouped by `speaker_of`, read when asked for; tells of files named alike."""
    paths = sound_files(folder)
    alike = Counter(path.name for path in paths if speaker_of(path) == path.stem)
    name, times = max(alike.items(), key=lambda one: one[1], default=("", 0))
    if times > 1:
        print(
            f"{folder}: {times} files are called {name} and count as one speaker's, whatever their "
            "folders: training and validation may share voices unless names begin SPEAKER-"
        )
    for path in paths:
        yield _recording(path, speaker_of(path), rate)


def read_noise(folder: Path, rate: int) -> Iterator[Recording]:
    """Noise; each file is a group of its own, and takes of one recording are one group.

    A folder of clean/noisy pairs gives what its noisy recordings hold beside the clean ones. A few
    recordings may be behind all of them: the logs of VoiceBank-DEMAND name them (`noise_labels`).
    """
    if has_pairs(folder):
        labels, unknown = noise_labels(folder), 0
        for pair in read_pairs(folder, rate):
            label = labels.get(Path(pair.name).stem)
            unknown += label is None
            yield Recording(pair.name, label or pair.name, _int16(pair.noisy - pair.clean))
        if unknown:
            print(
                f"{folder}: no log names the noise of {unknown} pairs: training and validation "
                "may share it"
            )
        return
    for path in sound_files(folder):
        yield _recording(path, source_of(path.relative_to(folder)), rate)


def has_pairs(folder: Path) -> bool:
    """Whether a folder is in the form of `read_pairs`."""
    return (folder / "clean").is_dir() and (folder / "noisy").is_dir()


def noise_labels(folder: Path) -> dict[str, str]:
    """Noise of each pair by its name without suffix, from lines like `p226_001 living 10` in
    log_*set*.txt or logfiles/log_*set*.txt (log_trainset_28spk.txt of VoiceBank-DEMAND).
    """
    logs = sorted((*folder.glob("log_*set*.txt"), *folder.glob("logfiles/log_*set*.txt")))
    lines = (
        line.split() for log in logs for line in log.read_text("utf-8", "replace").splitlines()
    )
    return {words[0]: words[1] for words in lines if len(words) == 3}


def read_pairs(folder: Path, rate: int) -> Iterator[Pair]:
    """Aligned `clean/` and `noisy/` recordings, matched by `pair_of`, named as the noisy ones.

    Raises:
        BadInputError: a file without its partner or with two, or partners of different length.
    """
    clean, noisy = _by_pair(folder / "clean"), _by_pair(folder / "noisy")
    for key in sorted(clean.keys() ^ noisy.keys()):
        here, there = (clean, "noisy") if key in clean else (noisy, "clean")
        raise BadInputError(f"{here[key]}: has no partner in {folder / there}")
    for key in sorted(clean):
        path = noisy[key]
        pair = Pair(path.name, read_audio(path, rate), read_audio(clean[key], rate))
        if len(pair.noisy) != len(pair.clean):
            raise BadInputError(
                f"{path}: {len(pair.noisy)} samples, its clean partner has "
                f"{len(pair.clean)}: pairs must be aligned"
            )
        yield pair


def _by_pair(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sound_files(folder):
        other = found.setdefault(pair_of(path), path)
        if other != path:
            raise BadInputError(f"{path}: is of the same pair as {other}")
    return found


def pair_of(path: Path) -> str:
    """`p232_001.wav` as it is; the test sets of DNS, `clean_fileid_7.wav` and
    `clnsp1_train_69075_1_snr15_fileid_7.wav` → fileid_7.
    """
    numbered = re.search(r"fileid_\d+$", path.stem)
    return numbered[0] if numbered else path.name


def speaker_of(path: Path) -> str:
    """Up to the first "-" or "_", or the reader of a book in DNS.

    `1034-121119-0000.flac` → 1034, `p232_001.wav` → p232, `allison.flac` → allison,
    `book_00000_chp_0009_reader_06709_0.wav` → reader_06709.
    """
    reader = re.search(r"(?<=_)reader_\d+", path.stem)
    return reader[0] if reader else re.split("[-_]", path.stem, maxsplit=1)[0]


def source_of(path: Path) -> str:
    """`rain/1-17367-B.ogg` → rain/1-17367 (ESC's takes A, B, … of one recording), else the path."""
    return re.sub("-[A-Z]$", "", path.with_suffix("").as_posix())


def split(
    recordings: Sequence[Recording], validation: float, test: float, seed: int, side: Side
) -> Split:
    """Cut by group: the shares are of groups, at least one group each where the share is not 0.

    Groups are ordered by a hash of seed and name, so that a recording keeps its side when others
    are added.

    Raises:
        BadInputError: too few groups to fill every part.
    """
    groups = sorted(
        {r.group for r in recordings},
        key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest(),
    )
    counts = [max(1, round(share * len(groups))) if share else 0 for share in (validation, test)]
    if sum(counts) >= len(groups):
        parts = "training, validation and test" if test else "training and validation"
        enough = max(len(groups) + 1, 3 if test else 2)
        first = recordings[0]
        raise BadInputError(
            f"{side.name}: too few {side.groups} ({len(groups)} in {len(recordings)} files) for "
            f"{parts}, which share none: give files with {enough} or more "
            f"({side.rule}: {first.name} counts as {first.group})"
        )
    chosen = set(groups[: counts[0]]), set(groups[counts[0] : sum(counts)])
    return Split(
        train=tuple(r for r in recordings if r.group not in chosen[0] | chosen[1]),
        validation=tuple(r for r in recordings if r.group in chosen[0]),
        test=tuple(r for r in recordings if r.group in chosen[1]),
    )


def fingerprint(recordings: Iterable[Recording]) -> str:
    """SHA-256 over names and samples, independent of their order."""
    parts = sorted(
        hashlib.sha256(r.name.encode() + b"\0" + r.samples.tobytes()).hexdigest()
        for r in recordings
    )
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _recording(path: Path, group: str, rate: int) -> Recording:
    return Recording(path.name, group, _int16(read_audio(path, rate)))


def _int16(samples: Samples) -> NDArray[np.int16]:
    limits = np.iinfo(np.int16)
    scaled: Samples = np.clip(np.rint(samples * FULL_SCALE), limits.min, limits.max)
    return scaled.astype(np.int16)


def by_group(
    recordings: Sequence[Recording],
) -> tuple[list[list[Recording]], NDArray[np.float64]]:
    """Recordings of each group, and the group's chance of being drawn."""
    groups: dict[str, list[Recording]] = {}
    for recording in sorted(recordings, key=lambda r: (r.group, r.name)):
        groups.setdefault(recording.group, []).append(recording)
    roots = np.sqrt([sum(len(r.samples) for r in group) for group in groups.values()])
    return list(groups.values()), roots / roots.sum()


def fill(
    random: np.random.Generator, group: Sequence[Recording], length: int
) -> tuple[Samples, str]:
    """`length` samples of one group and where they are from: random parts until it is full."""
    parts: list[Samples] = []
    names: dict[str, None] = {}  # in order, each once
    missing = length
    while missing > 0:
        recording = group[int(random.integers(len(group)))]
        spare = len(recording.samples) - missing
        parts.append(recording.part(int(random.integers(max(spare, 0) + 1)), missing))
        missing -= len(parts[-1])
        names[recording.name] = None
    return np.concatenate(parts), " + ".join(names)
