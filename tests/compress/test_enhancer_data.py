"""What the enhancer learns from: real sets, a folder of the user's own, or one clear line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from compress.speech_sets import SpeechSets, own
from compress.tasks import enhancer
from compress.tasks.enhancer import Enhancer, Settings
from device.errors import BadInputError
from tests.compress import sounds
from tests.compress.sounds import RATE, SMALL


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sounds.make_folder(tmp_path_factory.mktemp("data"))


def test_missing_data_is_one_clear_line(tmp_path: Path) -> None:
    made = enhancer.make(Settings.model_validate(SMALL), (tmp_path,), seed=0)
    with pytest.raises(
        BadInputError, match=r"no speech in .*: expected a folder of flac, wav or ogg"
    ):
        next(made.batches(0, 0))


def test_real_sets_are_split_by_speaker_and_noise(data_folder: Path) -> None:
    table = SMALL["data"] | {"clean": ["speech/librispeech-train122"], "noise": ["noise/esc10"]}  # type: ignore[operator]
    made = enhancer.make(
        Settings.model_validate(SMALL | {"data": table, "score": {"validation": 20, "test": 20}}),
        (data_folder,),
        seed=0,
    )
    assert isinstance(made, Enhancer)
    heard = [
        {name for pair in made._sets.mixtures(split) for name in pair.name.split(" in ")}
        for split in ("validation", "test")
    ]
    assert len(heard[0]) > 20
    assert not heard[0] & heard[1]


@pytest.mark.parametrize("form", ["noise", "noisy"])
def test_a_folder_in_standard_form_replaces_the_recipes_paths(
    data: Path, tmp_path: Path, form: str
) -> None:
    (tmp_path / "clean").mkdir()
    (tmp_path / form).mkdir()
    for path in sorted((data / "speech").iterdir()):
        voice, _ = soundfile.read(path)
        rumble, _ = soundfile.read(data / "noise" / f"{path.stem[0]}.flac")
        soundfile.write(tmp_path / "clean" / path.name, voice, RATE)
        beside = rumble if form == "noise" else voice + rumble
        soundfile.write(tmp_path / form / path.name, beside, RATE)
    made = enhancer.make(Settings.model_validate(SMALL), (tmp_path, data), seed=0)
    assert made.data().description == f"own recordings: {tmp_path.name}"
    noisy, clean, *_ = next(made.batches(0, 0))
    # the noise is all below 1 kHz, the speech all above 2: what was added is the rumble alone
    added = np.abs(np.fft.rfft((noisy - clean).numpy())) ** 2
    split = added.shape[-1] * 1500 * 2 // RATE
    assert added[..., :split].sum() > 20 * added[..., split:].sum()


@pytest.mark.parametrize("test", ["test", "pairs"])
@pytest.mark.parametrize("rooms", ["rooms.npz", "rooms/train.npz"])
def test_test_pairs_and_rooms_of_a_folder_are_used(tmp_path: Path, test: str, rooms: str) -> None:
    """By the standard's names or the recipe's."""
    sources = Settings.model_validate(SMALL).data.model_copy(update={"rooms": "rooms/train.npz"})
    for part in ("clean", "noisy"):
        (tmp_path / part).mkdir()
    found = own(sources, tmp_path)
    assert (found.pairs, found.rooms) == ((), None)
    for part in ("clean", "noisy"):
        (tmp_path / test / part).mkdir(parents=True)
        soundfile.write(tmp_path / test / part / "a.wav", np.full(1600, 0.1), RATE)
    (tmp_path / rooms).parent.mkdir(exist_ok=True)
    np.savez(tmp_path / rooms, speech=np.eye(3)[None], rate=RATE)
    found = own(sources, tmp_path)
    assert (found.pairs, found.rooms) == ((test,), rooms)
    sets = SpeechSets(found, Settings.model_validate(SMALL).score, (tmp_path,))
    assert [pair.name for pair in sets.pairs] == ["a.wav"]


def test_rooms_that_are_not_there_are_told(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for share in (0.3, 0.0):
        table = SMALL | {"mixing": {"seconds": 0.5, "room_share": share}}
        made = enhancer.make(Settings.model_validate(table), (data,), seed=0)
        next(made.batches(0, 0))
        told = "mixing.room_share 0.3 is without effect: there are no rooms\n" if share else ""
        assert capsys.readouterr().out == told


def test_what_is_heard_and_what_is_scored_have_fingerprints_of_their_own(
    data: Path, tmp_path: Path
) -> None:
    """Rooms change what is learned from, another test sound changes what is scored."""
    shutil.copytree(data / "speech", tmp_path / "clean")
    shutil.copytree(data / "noise", tmp_path / "noise")
    sources, score = Settings.model_validate(SMALL).data, Settings.model_validate(SMALL).score

    def prints() -> tuple[str, str]:
        sets = SpeechSets(own(sources, tmp_path), score, (tmp_path,))
        return sets.origin().fingerprint, sets.scored()

    learned, scored = prints()
    assert prints() == (learned, scored)
    np.savez(tmp_path / "rooms.npz", speech=np.eye(3)[None], rate=RATE)
    with_rooms, same = prints()
    assert with_rooms != learned and same == scored
    for part in ("clean", "noisy"):
        (tmp_path / "test" / part).mkdir(parents=True)
        soundfile.write(tmp_path / "test" / part / "a.wav", np.full(1600, 0.1), RATE)
    same, with_pair = prints()
    assert same == with_rooms and with_pair != scored
    soundfile.write(tmp_path / "test" / "noisy" / "a.wav", np.full(1600, 0.2), RATE)
    assert prints() not in [(with_rooms, scored), (with_rooms, with_pair)]


def test_clean_alone_is_not_enough(tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    with pytest.raises(BadInputError, match="neither noise/ nor noisy/"):
        enhancer.make(Settings.model_validate(SMALL), (tmp_path,), seed=0)
