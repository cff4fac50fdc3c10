"""The recordings a recipe's [data] names, read once and split by speaker and by noise file."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from pydantic import Field

from compress import mixing, shelf, speech, start
from compress.intervals import Range
from compress.mixing import Mixer, Mixing
from compress.rooms import read_rooms
from compress.speech import Pair, Recording, Side, Split
from compress.tasks import locate
from device.errors import BadInputError
from device.manifest import Data, Frozen

FORM = "a folder of flac, wav or ogg files"
PAIRS_FORM = "a folder with clean/ and noisy/ files of the same names"
ROOMS_FORM = "room responses made with the default data"

Reader = Callable[[Path, int], Iterator[Recording]]


class Sources(Frozen):
    """[data]: paths below the data folders."""

    rate: int = Field(16_000, gt=0, description="Hz; recordings of other rates are resampled")
    clean: tuple[str, ...] = Field(min_length=1)
    noise: tuple[str, ...] = Field(min_length=1)
    rooms: str | None = None
    test_clean: tuple[str, ...] = ()
    test_noise: tuple[str, ...] = ()
    pairs: tuple[str, ...] = Field((), description="scored at the end, never learned from")
    validation_share: float = Field(0.08, gt=0, lt=1, description="of speakers, of noise files")
    test_share: float = Field(0.08, gt=0, lt=1, description="where no test folders are given")
    split_seed: int = Field(0, ge=0)
    description: str
    licence: str


def own(sources: Sources, folder: Path) -> Sources:
    """A user's folder in standard form instead of the recipe's paths; else the recipe's.

    Standard forms are clean/ and noise/, and clean/ and noisy/ with the same names. Beside these,
    test/ with its own clean/ and noisy/ is scored at the end, and rooms.npz, made as that of the
    default data, is heard; both are also found where the recipe has them.

    Raises:
        BadInputError: clean/ has neither beside it.
    """
    if not (folder / "clean").is_dir():
        return sources
    if not (folder / "noise").is_dir() and not speech.has_pairs(folder):
        raise BadInputError(f"{folder}: beside clean/ there is neither noise/ nor noisy/")
    rooms = ("rooms.npz", *([sources.rooms] if sources.rooms else []))
    return sources.model_copy(
        update={
            "clean": ("clean",),
            "noise": ("noise" if (folder / "noise").is_dir() else ".",),
            "rooms": next((name for name in rooms if (folder / name).is_file()), None),
            "test_clean": (),
            "test_noise": (),
            "pairs": tuple(n for n in ("test", *sources.pairs) if speech.has_pairs(folder / n)),
            "description": f"own recordings: {folder.resolve().name}",
            "licence": "not stated",
        }
    )


class Score(Frozen):
    """[score]: the fixed mixtures that count."""

    seconds: float = Field(4.0, gt=0)
    snr_db: Range = (-5.0, 10.0)
    validation: int = Field(40, gt=0, description="mixtures")
    test: int = Field(40, gt=0, description="mixtures")


class SpeechSets:
    """Everything is read when it is first asked for.

    Args:
        folders: where paths are looked for, the first that holds one wins.
    """

    def __init__(self, sources: Sources, score: Score, folders: tuple[Path, ...]) -> None:
        self._sources, self._score, self._folders = sources, score, folders

    @property
    def rate(self) -> int:
        """Hz."""
        return self._sources.rate

    def origin(self) -> Data:
        """Description, licence and fingerprint of what is learned from."""
        learned = speech.fingerprint((*self._speech.train, *self._noise.train))
        rooms = self._rooms
        return Data(
            description=self._sources.description,
            licence=self._sources.licence,
            fingerprint=learned if rooms is None else start.fingerprint(learned, rooms),
        )

    def scored(self) -> str:
        """Fingerprint of the test recordings and the pairs."""
        test = (*self._speech.test, *self._noise.test)
        digest = hashlib.sha256(speech.fingerprint(test).encode())
        for pair in self.pairs:
            for part in (pair.name.encode(), pair.noisy.tobytes(), pair.clean.tobytes()):
                digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()

    def mixer(self, config: Mixing) -> Mixer:
        """Training mixtures."""
        if config.room_share and self._rooms is None:
            print(f"mixing.room_share {config.room_share:g} is without effect: there are no rooms")
        rooms = [] if self._rooms is None else read_rooms(self._rooms, self.rate)
        return Mixer(self._speech.train, self._noise.train, config, self.rate, rooms)

    def mixtures(self, split: str) -> list[Pair]:
        """The fixed mixtures of "validation" or "test"."""
        if split == "validation":
            voices, noises = self._speech.validation, self._noise.validation
        else:
            voices, noises = self._speech.test, self._noise.test
        score = self._score
        return mixing.fixed_mixtures(
            voices,
            noises,
            score.validation if split == "validation" else score.test,
            score.seconds,
            score.snr_db,
            self.rate,
            self._sources.split_seed,
        )

    @cached_property
    def pairs(self) -> list[Pair]:
        """Noisy recordings with their clean references, for the last score."""
        folders = [locate(name, self._folders, PAIRS_FORM) for name in self._sources.pairs]
        return [pair for folder in folders for pair in speech.read_pairs(folder, self.rate)]

    @cached_property
    def _rooms(self) -> Path | None:
        name = self._sources.rooms
        return None if name is None else locate(name, self._folders, ROOMS_FORM)

    @cached_property
    def _speech(self) -> Split:
        sources = self._sources
        return self._split(speech.SPEECH, speech.read_speech, sources.clean, sources.test_clean)

    @cached_property
    def _noise(self) -> Split:
        sources = self._sources
        return self._split(speech.NOISE, speech.read_noise, sources.noise, sources.test_noise)

    def _split(
        self, side: Side, read: Reader, names: Sequence[str], test_names: Sequence[str]
    ) -> Split:
        sources = self._sources
        share = 0.0 if test_names else sources.test_share
        recordings = self._read(read, names)
        parts = speech.split(recordings, sources.validation_share, share, sources.split_seed, side)
        if not test_names:
            return parts
        return Split(parts.train, parts.validation, tuple(self._read(read, test_names)))

    def _read(self, read: Reader, names: Sequence[str]) -> list[Recording]:
        folders = [locate(name, self._folders, FORM) for name in names]
        found = (recording for folder in folders for recording in read(folder, self.rate))
        return shelf.kept(found, self._folders[-1])
