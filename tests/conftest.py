"""Fixtures shared by all tests. Real parts only: real bundles, a real broker, real audio."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

# before torch is imported: sums of two threads differ from those of one in the last digit, and
# children are compared with this process
os.environ["OMP_NUM_THREADS"] = "1"

from apps.demo.broker import Broker
from tests import bundles


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keys and settings of the person who runs the tests stay untouched."""
    folder = tmp_path_factory.mktemp("config")
    before = os.environ.get("XDG_CONFIG_HOME")
    os.environ["XDG_CONFIG_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XDG_CONFIG_HOME"]
    else:
        os.environ["XDG_CONFIG_HOME"] = before


@pytest.fixture(scope="session")
def _classifier(own_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make_classifier(tmp_path_factory.mktemp("made") / "colours")


@pytest.fixture(scope="session")
def _enhancer(own_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make_enhancer(tmp_path_factory.mktemp("made") / "identity")


@pytest.fixture
def classifier(_classifier: Path, tmp_path: Path) -> Path:
    """A private copy of the colour classifier's bundle."""
    return Path(shutil.copytree(_classifier, tmp_path / "colours"))


@pytest.fixture
def enhancer(_enhancer: Path, tmp_path: Path) -> Path:
    """A private copy of a bundle whose mask is one everywhere."""
    return Path(shutil.copytree(_enhancer, tmp_path / "identity"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data sets; tests that need them are skipped, with the reason, elsewhere."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FIELDWREN_DATA", default))
    if not folder.is_dir():
        pytest.skip("needs the real data sets: set FIELDWREN_DATA to their folder")
    return folder


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real Mosquitto on a free loopback port, open to everybody, that keeps what it has."""
    with Broker(tmp_path / "broker", persistent=True) as running:
        yield running
