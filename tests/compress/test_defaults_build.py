"""The whole build, from tiny real packages in the cache: whole or absent, the same by seed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from compress.defaults import birds, build, default_data, default_root, record, speech
from compress.defaults.record import PARTS, Part
from device.errors import BadInputError, FieldwrenError
from device.files import sha256
from tests.compress import tiny_packages
from tests.compress.tiny_packages import AMOUNTS


def quiet(part: Part, share: float) -> None:
    assert 0 <= share <= 1, part


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache") / "packages"
    tiny_packages.fill(folder)
    return folder


@pytest.fixture(scope="module")
def built(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    (root / "packages").symlink_to(cache)
    assert build.build(root, 0, PARTS, quiet, AMOUNTS) == list(PARTS)
    return root


def hashes(folder: Path) -> set[str]:
    return {sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_every_part_has_its_standard_form(built: Path) -> None:
    assert default_data(built) == built
    classes = {*birds.SPECIES, birds.FILMED, birds.BACKGROUND}
    for split, count in AMOUNTS.pictures.items():
        folders = {folder.name: folder for folder in (built / "birds" / split).iterdir()}
        assert set(folders) == classes
        for name, folder in folders.items():
            pictures = len(list(folder.glob("*.jpg")))
            assert pictures == count * (2 if name == birds.BACKGROUND else 1)
    for split, speakers in (("train", speech.TRAIN), ("test", speech.TEST)):
        files = sorted((built / "speech" / split).glob("*.flac"))
        assert {path.name.split("-")[0] for path in files} == set(speakers)
        for path in files:
            told = soundfile.info(path)
            assert (told.samplerate, told.channels) == (speech.RATE, 1)
    for split in ("train", "test"):
        assert len(list((built / "noise" / split).glob("*.flac"))) == 9
        with np.load(built / "rooms" / f"{split}.npz", allow_pickle=False) as arrays:
            count = AMOUNTS.rooms[split]
            assert arrays["speech"].shape == (count, 4, 8000)
            assert arrays["noise"].shape == (count, 2, 4, 8000)
            assert int(arrays["rate"]) == 16_000
    noisy = soundfile.info(built / "demo" / "speech-noisy-4ch.wav")
    clean = soundfile.info(built / "demo" / "speech-clean.wav")
    assert (noisy.channels, noisy.subtype, noisy.samplerate) == (4, "PCM_16", 16_000)
    assert (clean.channels, clean.frames) == (1, noisy.frames)
    assert (built / "demo" / "zebrafinch.mp4").stat().st_size > 1000


def test_no_file_is_in_two_splits(built: Path) -> None:
    for part in ("birds", "speech", "noise"):
        assert not hashes(built / part / "train") & hashes(built / part / "test")


def test_the_manifest_names_sources_licences_and_contents(built: Path) -> None:
    told = json.loads((built / record.NAME).read_text())
    assert set(told["parts"]) == set(PARTS)
    for part, entry in told["parts"].items():
        assert entry["licence"]
        assert entry["seed"] == 0
        assert entry["files"] == sum(p.is_file() for p in (built / part).rglob("*"))
        assert entry["fingerprint"] == record.fingerprint(built / part)
        for source in entry["sources"]:
            (archive,) = (built / "packages").glob(f"{source['package']}[_-]*.*")
            assert source["sha256"] == sha256(archive)
            assert source["licence"]
    named = {s["package"] for entry in told["parts"].values() for s in entry["sources"]}
    wanted = {p.name for p in (*speech.TRAIN.values(), *speech.TEST.values(), birds.PACKAGE)}
    assert named == wanted | {"birdwatcher"}


def test_a_second_build_does_nothing(built: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    assert build.build(built, 0, PARTS, quiet, AMOUNTS) == []
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == {
        **before,
        built / ".lock": (built / ".lock").stat().st_mtime_ns,
    }


def test_the_seed_decides_every_byte(built: Path, cache: Path, tmp_path: Path) -> None:
    fingerprints = {part: told.fingerprint for part, told in record.read(built).items()}
    parts: tuple[Part, ...] = ("birds", "speech", "noise", "rooms", "demo")
    for seed in (0, 1):
        root = tmp_path / str(seed)
        root.mkdir()
        (root / "packages").symlink_to(cache)
        build.build(root, seed, parts, quiet, AMOUNTS)
        for part, told in record.read(root).items():
            assert (told.fingerprint == fingerprints[part]) == (seed == 0), (part, seed)


def test_one_part_alone_is_not_the_whole(tmp_path: Path) -> None:
    assert build.build(tmp_path, 0, ["rooms"], quiet, AMOUNTS) == ["rooms"]
    assert (tmp_path / "rooms" / "train.npz").exists()
    with pytest.raises(BadInputError, match=r"no birds, speech, noise, demo\); run `make data`"):
        default_data(tmp_path)


def test_parts_of_different_seeds_are_not_the_whole(built: Path, tmp_path: Path) -> None:
    told = record.read(built)
    for part in PARTS:
        (tmp_path / part).mkdir()
    record.write(tmp_path, told)
    assert default_data(tmp_path) == tmp_path
    record.write(tmp_path, {**told, "rooms": told["rooms"].model_copy(update={"seed": 1})})
    with pytest.raises(BadInputError, match="different seeds"):
        default_data(tmp_path)


def test_another_seed_replaces_a_part(tmp_path: Path) -> None:
    build.build(tmp_path, 0, ["rooms"], quiet, AMOUNTS)
    first = record.read(tmp_path)["rooms"].fingerprint
    assert build.build(tmp_path, 1, ["rooms"], quiet, AMOUNTS) == ["rooms"]
    second = record.read(tmp_path)["rooms"]
    assert second.seed == 1
    assert second.fingerprint == record.fingerprint(tmp_path / "rooms") != first


KILLED = """
import os, signal, sys
from pathlib import Path
from compress.defaults import build
from tests.compress.tiny_packages import AMOUNTS

def report(part, share):
    if share == 0.5:
        os.kill(os.getpid(), signal.SIGKILL)

build.build(Path(sys.argv[1]), 0, ["rooms"], report, AMOUNTS)
"""


def test_a_killed_build_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    repository = Path(__file__).parents[2]
    done = subprocess.run(
        (sys.executable, "-c", KILLED, str(tmp_path)), cwd=repository, capture_output=True
    )
    assert done.returncode == -9, done.stderr
    assert (tmp_path / ".building" / "rooms").is_dir()
    assert record.read(tmp_path) == {}
    assert build.build(tmp_path, 0, ["rooms"], quiet, AMOUNTS) == ["rooms"]
    assert not (tmp_path / ".building").exists()
    assert record.read(tmp_path)["rooms"].fingerprint == record.fingerprint(tmp_path / "rooms")


def test_a_part_that_was_removed_is_made_again(tmp_path: Path) -> None:
    build.build(tmp_path, 0, ["rooms"], quiet, AMOUNTS)
    (tmp_path / "rooms").rename(tmp_path / "elsewhere")
    assert build.build(tmp_path, 0, ["rooms"], quiet, AMOUNTS) == ["rooms"]


def test_two_builds_do_not_meet(tmp_path: Path) -> None:
    def meanwhile(part: Part, share: float) -> None:
        with pytest.raises(BadInputError, match="another process is making"):
            build.build(tmp_path, 0, ["rooms"], quiet, AMOUNTS)

    build.build(tmp_path, 0, ["rooms"], meanwhile, AMOUNTS)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FieldwrenError, match="choose another folder with --out"):
        build.build(tmp_path / "file" / "data", 0, ["rooms"], quiet, AMOUNTS)


@pytest.mark.parametrize("content", ["", "{", '{"schema": 1}', '{"schema": 2, "parts": {}}'])
def test_a_damaged_manifest_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / record.NAME).write_text(content)
    assert record.read(tmp_path) == {}


def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FIELDWREN_CACHE", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("FIELDWREN_CACHE")
    assert default_root() == Path(__file__).resolve().parents[2] / ".cache" / "fieldwren"


def test_the_real_default_data_is_whole() -> None:
    try:
        root = default_data()
    except BadInputError as missing:
        pytest.skip(f"needs the default data: {missing}")
    told = record.read(root)
    assert sum(told["birds"].items.values()) == 150 * 19  # 17 species and twice the background
    assert not hashes(root / "birds" / "train") & hashes(root / "birds" / "test")
    seconds = sum(soundfile.info(p).duration for p in (root / "speech" / "train").iterdir())
    assert 18 < seconds / 60 < 25
    noisy, rate = soundfile.read(root / "demo" / "speech-noisy-4ch.wav")
    clean, _ = soundfile.read(root / "demo" / "speech-clean.wav")
    assert rate == 16_000
    assert noisy.shape == (20 * rate, 4)
    assert np.abs(noisy).max() < 0.9
    snr = 10 * np.log10(np.square(clean).sum() / np.square(noisy[:, 0] - clean).sum())
    assert 2 <= snr <= 5
