"""Installing bundles: fully verified, atomically, with a way back."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from device import bundle, store, unpacking
from device.__main__ import cli
from device.errors import BadInputError, FieldwrenError
from device.signing import Policy
from device.store import Store
from tests import bundles

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", Policy.REQUIRED)


def version(folder: Path, number: str) -> Path:
    """The same bundle as another version."""
    bundles.rewrite_manifest(folder, version=number)
    return folder


def tarred(folder: Path, arrange: Callable[[tarfile.TarFile], None] | None = None) -> Path:
    """The folder as an archive beside it, `folder/file` inside, as `tar c folder` does."""
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(folder, folder.name)
        if arrange:
            arrange(archive)
    return path


def test_an_installed_bundle_is_current_and_loads(home: Store, classifier: Path) -> None:
    new = home.install(classifier)
    assert (new.name, new.version, new.signed, new.current) == ("colours", "0.1.0", True, True)
    current = home.folder / "colours" / "current"
    assert current.is_symlink() and home.current("colours") == new.path
    assert bundle.load(current).bundle.model_sha256 == new.sha256


def test_from_an_archive(home: Store, enhancer: Path) -> None:
    assert home.install(tarred(enhancer)).current
    flat = enhancer.with_name("flat.tar")
    with tarfile.open(flat, "w") as archive:
        for path in enhancer.iterdir():
            archive.add(path, path.name)
    assert home.install(flat).name == "identity"
    assert len(home.versions()) == 1, "the same bundle is installed once"


def test_what_the_manifest_does_not_list_stays_outside(home: Store, classifier: Path) -> None:
    (classifier / "report.html").write_text("<p>")
    new = home.install(classifier)
    listed = {"model.tflite", "labels.txt", "golden.npz", "manifest.json", "manifest.json.sig"}
    assert {path.name for path in new.path.iterdir()} == listed


def test_versions_and_the_way_back(home: Store, classifier: Path) -> None:
    first = home.install(classifier)
    second = home.install(version(classifier, "0.2.0"))
    states = {v.version: (v.current, v.previous) for v in home.versions()}
    assert states == {"0.1.0": (False, True), "0.2.0": (True, False)}
    assert home.rollback("colours").path == first.path
    assert home.current("colours") == first.path
    assert home.rollback("colours").path == second.path, "and forth"


def test_no_way_back_from_the_first(home: Store, classifier: Path) -> None:
    home.install(classifier)
    with pytest.raises(BadInputError, match="no previous version of colours"):
        home.rollback("colours")


def test_the_way_back_is_verified_too(home: Store, classifier: Path) -> None:
    first = home.install(classifier)
    second = home.install(version(classifier, "0.2.0"))
    (first.path / bundle.LABELS).write_text("rot\n")
    with pytest.raises(BadInputError, match="differs from its hash"):
        home.rollback("colours")
    assert home.current("colours") == second.path
    broken = next(v for v in home.versions() if v.version == "0.1.0")
    assert "differs from its hash" in (broken.problem or "")


@pytest.mark.parametrize("damage", ["hash", "signature", "golden", "nan"])
def test_a_bad_bundle_changes_nothing(
    home: Store, classifier: Path, tmp_path: Path, damage: str
) -> None:
    good = home.install(classifier)
    bad = Path(shutil.copytree(classifier, tmp_path / "bad"))
    if damage == "hash":
        (bad / bundle.LABELS).write_text("a\nb\nc\nd\n")
    elif damage == "signature":
        (bad / bundle.SIGNATURE).unlink()
    elif damage == "golden":
        shutil.copyfile(bad / bundle.MODEL, bad / bundle.GOLDEN)
        bundles.rewrite_manifest(bad)
    else:
        bad = bundles.make_nan_enhancer(tmp_path / "colours-nan")
    before = sorted(home.folder.rglob("*"))
    with pytest.raises(BadInputError):
        home.install(bad)
    assert sorted(home.folder.rglob("*")) == before
    assert home.current("colours") == good.path


def test_a_damaged_installation_is_replaced(home: Store, classifier: Path) -> None:
    path = home.install(classifier).path
    (path / bundle.LABELS).unlink()
    assert home.install(classifier).path == path
    assert bundle.load(path, policy=Policy.REQUIRED)


def link(archive: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("colours/link")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive.addfile(member)


def named(name: str) -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))

    return add


def test_archives_with_tricks_are_refused(home: Store, classifier: Path, tmp_path: Path) -> None:
    cases: list[tuple[Callable[[tarfile.TarFile], None], str]] = [
        (link, "only plain files"),
        (named("../evil"), "leads out"),
        (named("/tmp/evil"), "leads out"),
        (named("colours/../../evil"), "leads out"),
        (named("colours/deep/evil"), "leads out"),
        (named("elsewhere/evil"), "one folder"),
        (named("colours/labels.txt"), "a file twice"),
    ]
    for trick, reason in cases:
        with pytest.raises(BadInputError, match=reason):
            home.install(tarred(classifier, trick))
    assert home.versions() == []
    assert not list(tmp_path.rglob("evil"))


def test_folders_with_links_are_refused(home: Store, classifier: Path) -> None:
    (classifier / "link").symlink_to("/etc/passwd")
    with pytest.raises(BadInputError, match="only plain files"):
        home.install(classifier)


def test_too_large_is_refused(
    home: Store, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MAX_BYTES", 1000)
    for source in (classifier, tarred(classifier)):
        with pytest.raises(BadInputError, match="too large for a bundle"):
            home.install(source)


@pytest.mark.parametrize("cut", [0, 700, 3000])
def test_a_cut_archive_is_refused(home: Store, classifier: Path, cut: int) -> None:
    path = tarred(classifier)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BadInputError):
        home.install(path)


INSTALL = """
import os, resource, signal, sys
from pathlib import Path
from device import store
from device.errors import FieldwrenError, run

how, folder, source = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
if how == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
else:  # die at the last moment before the new version is current
    store._swap_link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
try:
    store.Store(folder).install(source)
except FieldwrenError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def install_elsewhere(how: str, home: Store, source: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", INSTALL, how, home.folder, source],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ,
    )


def test_a_full_disk_leaves_the_old_one_current(home: Store, classifier: Path) -> None:
    old = home.install(classifier)
    done = install_elsewhere("full", home, version(classifier, "0.2.0"))
    assert done.returncode == FieldwrenError.exit_code, done.stderr
    assert "not installed: File too large; nothing has changed" in done.stdout
    assert [v.path for v in home.versions()] == [old.path]
    assert home.current("colours") == old.path
    assert not list(home.folder.glob(f"{store.INCOMING}*"))


def test_a_crash_leaves_the_old_one_current(home: Store, classifier: Path) -> None:
    old = home.install(classifier)
    newer = version(classifier, "0.2.0")
    assert install_elsewhere("crash", home, newer).returncode == -signal.SIGKILL
    assert home.current("colours") == old.path
    assert home.install(newer).current, "and it can be done again"
    assert home.rollback("colours").path == old.path


def test_what_a_crash_left_is_cleared(home: Store, classifier: Path) -> None:
    left = home.folder / f"{store.INCOMING}dead"
    left.mkdir(parents=True)
    home.install(classifier)
    assert not left.exists()


def run(*words: object) -> str:
    result = CliRunner().invoke(cli, [str(word) for word in ("bundle", *words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_the_command_line(classifier: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    assert "allowed 0.0001, all finite" in run("verify", classifier)
    assert '"signed": true' in run("verify", classifier, "--json")
    assert "no bundles" in run("list", "--store", folder)
    assert "installed colours 0.1.0" in run("install", classifier, "--store", folder)
    run("install", version(classifier, "0.2.0"), "--store", folder)
    lines = run("list", "--store", folder).splitlines()
    assert [line.split()[1] for line in lines] == ["0.1.0", "0.2.0"]
    assert lines[1].endswith("signed   current")
    assert "colours is 0.1.0 again" in run("rollback", "colours", "--store", folder)
    with pytest.raises(BadInputError, match="which store"):
        run("list")


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "nowhere"),
        ("install", "nowhere", "--store", "store"),
        ("rollback", "birds", "--store", "store"),
        ("list", "--config", "nowhere.toml"),
        ("install", "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "device", "bundle", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_station_keeps_its_bundles_below_its_state(classifier: Path, tmp_path: Path) -> None:
    config = tmp_path / "fieldwren.toml"
    config.write_text('station = "garden"\nstate_dir = "state"\n[bundles]\nsignature = "required"')
    run("install", classifier, "--config", config)
    assert (tmp_path / "state" / "bundles" / "colours" / "current" / "model.tflite").is_file()
    (classifier / bundle.SIGNATURE).unlink()
    with pytest.raises(BadInputError, match="no trusted key"):
        run("install", classifier, "--config", config)
