"""The command line `python scripts/data.py`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from compress.defaults import record
from compress.defaults.build import build
from tests.compress.tiny_packages import AMOUNTS

SCRIPT = Path(__file__).parents[2] / "scripts" / "data.py"


def data(*arguments: str, cwd: Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}
    if path is not None:
        environment["PATH"] = path
    return subprocess.run(
        (sys.executable, str(SCRIPT), *arguments),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().splitlines()[-1]


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    build(tmp_path / "d", 0, ["rooms"], lambda part, share: None, AMOUNTS)
    manifest = (tmp_path / "d" / record.NAME).read_bytes()
    done = data("--out", "d", "--only", "rooms", cwd=tmp_path)  # from another working directory
    assert done.returncode == 0, done.stderr
    assert "there already" in done.stdout
    assert (tmp_path / "d" / record.NAME).read_bytes() == manifest


@pytest.mark.parametrize("part", ["birds", "speech"])
def test_without_packages_it_ends_with_one_line(tmp_path: Path, part: str) -> None:
    done = data("--out", "d", "--only", part, cwd=tmp_path, path=str(tmp_path))
    assert done.returncode == 2
    line = last_line(done)
    assert line.startswith("error: ")
    assert "--data DIR or FIELDWREN_DATA=DIR" in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "d" / record.NAME).exists()


def test_an_unknown_part_is_named(tmp_path: Path) -> None:
    done = data("--out", "d", "--only", "fish", cwd=tmp_path)
    assert done.returncode == 2
    assert "--only fish" in last_line(done)
    assert not (tmp_path / "d").exists()
