"""Make the default data part by part: fetch, build beside the target, rename, write it down.

A part is made in `.building/` and renamed into place when it is whole; the manifest names it only
after that, and stops naming it before an old one is removed. So a build that was interrupted at
any moment leaves parts that are whole or not in the manifest.
"""

import fcntl
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from compress.defaults import birds, demo, noise, packages, record, recording, rooms, speech
from compress.defaults.record import Part, PartRecord
from compress.defaults.seeds import stream
from device.errors import BadInputError, FieldwrenError

Tick = Callable[[float], None]  # share of a part that is done, 0…1
Report = Callable[[Part, float], None]


@dataclass(frozen=True)
class Amounts:
    """How much is made."""

    pictures: dict[str, int] = field(default_factory=lambda: {"train": 120, "test": 30})
    minutes: speech.Minutes = field(default_factory=speech.Minutes)
    # split → (babbles, files of each of the eight other kinds)
    noises: dict[str, tuple[int, int]] = field(
        default_factory=lambda: {"train": (12, 6), "test": (3, 2)}
    )
    rooms: dict[str, int] = field(default_factory=lambda: {"train": 40, "test": 10})


class Sources:
    """The packages, fetched when first asked for."""

    def __init__(self, cache: Path, amounts: Amounts, seed: int) -> None:
        self._cache = cache
        self._amounts = amounts
        self._seed = seed

    @cached_property
    def stamps_archive(self) -> packages.Archive:
        """Tux Paint's stamps."""
        return packages.fetch(birds.PACKAGE, self._cache)

    @cached_property
    def video_archive(self) -> packages.Archive:
        """The package with the zebra finch's recording."""
        return packages.fetch(recording.PACKAGE, self._cache)

    @cached_property
    def speech_archives(self) -> dict[str, packages.Archive]:
        """Speaker → recordings."""
        speakers = {**speech.TRAIN, **speech.TEST}
        return {name: packages.fetch(package, self._cache) for name, package in speakers.items()}

    @cached_property
    def stamps(self) -> birds.Stamps:
        """Cut-outs of birds and other things."""
        files = packages.read_members(self.stamps_archive, birds.PACKAGE_FOLDER, ".png")
        return birds.read_stamps(files)

    @cached_property
    def video(self) -> recording.Video:
        """The zebra finch."""
        files = packages.read_members(self.video_archive, recording.PACKAGE_FOLDER, ".mp4")
        return recording.decode(files[min(files)])

    @cached_property
    def prompts(self) -> speech.Pools:
        """Prompts of all speakers, dealt to their purposes."""
        spoken = {
            speaker: speech.prompts(packages.read_members(archive, speech.PACKAGE_FOLDER, ".g722"))
            for speaker, archive in self.speech_archives.items()
        }
        train = {speaker: spoken[speaker] for speaker in speech.TRAIN}
        test = {speaker: spoken[speaker] for speaker in speech.TEST}
        return speech.pools(train, test, self._amounts.minutes, self._seed)


def build(
    root: Path,
    seed: int,
    only: Collection[Part],
    report: Report,
    amounts: Amounts | None = None,
) -> list[Part]:
    """Make the parts that are not there yet with this seed; return which were made.

    Raises BadInputError when a package cannot be had, or another build is at work here, and
    FieldwrenError when the folder cannot be written.
    """
    amounts = amounts or Amounts()
    sources = Sources(root / "packages", amounts, seed)
    made: list[Part] = []
    with _alone(root):
        for part in record.PARTS:
            there = record.read(root)
            if part not in only or (part in there and there[part].seed == seed):
                continue
            _make(root, part, seed, sources, amounts, partial(report, part))
            made.append(part)
    return made


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Refuse to build where another process is building; the lock ends with its process."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadInputError(
                    f"{root}: another process is making the default data here; wait for its end"
                ) from None
            yield
    except OSError as error:
        raise FieldwrenError(
            f"{error.filename or root}: {error.strerror or error}; make room or choose another "
            "folder with --out"
        ) from None


def _make(
    root: Path, part: Part, seed: int, sources: Sources, amounts: Amounts, tick: Tick
) -> None:
    building = root / ".building"
    shutil.rmtree(building, ignore_errors=True)  # what an interrupted build left
    folder = building / part
    tick(0.0)
    told = _PARTS[part](folder, seed, sources, amounts, tick)
    tick(1.0)
    others = {name: r for name, r in record.read(root).items() if name != part}
    record.write(root, others)
    shutil.rmtree(root / part, ignore_errors=True)
    folder.rename(root / part)
    record.write(root, {**others, part: told})
    shutil.rmtree(building)


def _told(
    folder: Path,
    seed: int,
    items: dict[str, int],
    archives: Collection[packages.Archive],
    licence: str,
    description: str,
) -> PartRecord:
    return PartRecord(
        seed=seed,
        version=record.VERSION,
        description=description,
        licence=licence,
        sources=tuple(record.source(archive) for archive in archives),
        files=sum(path.is_file() for path in folder.rglob("*")),
        items=items,
        fingerprint=record.fingerprint(folder),
    )


def _birds(folder: Path, seed: int, sources: Sources, amounts: Amounts, tick: Tick) -> PartRecord:
    found = recording.find_bird(sources.video)
    items = birds.build(folder, sources.stamps, found, amounts.pictures, seed, tick)
    return _told(
        folder, seed, items, (sources.stamps_archive, sources.video_archive), "GPL-2",
        "96×96 composites of photo cut-outs of 16 species (one or two photographs each: test "
        "pictures differ from training ones in background, pose and camera, not in the bird), "
        "Zebra_Finch from the first 36 % (train) and 40-50 % (test) of one recording, and "
        "background with clutter that is parted between train and test",
    )  # fmt: skip


def _speech(folder: Path, seed: int, sources: Sources, amounts: Amounts, tick: Tick) -> PartRecord:
    items = speech.build(folder, sources.prompts, seed, tick)
    return _told(
        folder, seed, items, sources.speech_archives.values(), "CC-BY-SA-3.0",
        "studio telephone prompts joined to utterances of 3-8 s, 16 kHz; three voices in four "
        "languages train, a fourth voice (June Wallack, French) tests",
    )  # fmt: skip


def _noise(folder: Path, seed: int, sources: Sources, amounts: Amounts, tick: Tick) -> PartRecord:
    voices = {"train": sources.prompts.babble, "test": sources.prompts.test_babble}
    items = noise.build(folder, voices, amounts.noises, seed, tick)
    archives = [sources.speech_archives[speaker] for speaker in speech.TRAIN]
    return _told(
        folder, seed, items, archives, "CC-BY-SA-3.0",
        "10 s files, 16 kHz: babble of the training voices (from prompts used for nothing else, "
        "others in test than in train) and synthetic noise",
    )  # fmt: skip


def _rooms(folder: Path, seed: int, sources: Sources, amounts: Amounts, tick: Tick) -> PartRecord:
    items = rooms.build(folder, amounts.rooms, seed, tick)
    return _told(
        folder, seed, items, (), "CC0-1.0",
        "impulse responses of simulated shoebox rooms to four microphones, RT60 0.15-0.5 s",
    )  # fmt: skip


def _demo(folder: Path, seed: int, sources: Sources, amounts: Amounts, tick: Tick) -> PartRecord:
    spoken = [prompt for prompts in sources.prompts.demo.values() for prompt in prompts]
    room = rooms.simulate(stream(seed, "rooms", "test", 0))
    demo.build(folder, spoken, room, seed)
    tick(0.5)
    frames = recording.write_demo(sources.video, folder / "zebrafinch.mp4")
    archives = [sources.video_archive, *(sources.speech_archives[s] for s in speech.TEST)]
    return _told(
        folder, seed, {"frames": frames, "seconds": int(demo.SECONDS)}, archives,
        "BSD-3-Clause (video), CC-BY-SA-3.0 (speech)",
        "the second half of the zebra finch recording, and 20 s of the test voice in the first "
        f"test room with noise at {demo.SNR_DB:g} dB SNR at microphone 0, from prompts that are "
        "in no other part",
    )  # fmt: skip


_PARTS: dict[Part, Callable[[Path, int, Sources, Amounts, Tick], PartRecord]] = {
    "birds": _birds,
    "speech": _speech,
    "noise": _noise,
    "rooms": _rooms,
    "demo": _demo,
}
