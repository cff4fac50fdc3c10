"""rtf.py and speedup.py on real bundles: what they report fits together; bad input is one line."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[2]


def script(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    path = tmp_path / "speech.wav"
    soundfile.write(path, generator.standard_normal((22_050, 2)) * 0.1, 22_050)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures" / "red"
    folder.mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((40, 60, 3), (0, 0, 200), np.uint8))
    return folder.parent


def test_rtf_of_an_enhancer(enhancer: Path, speech: Path) -> None:
    done = script("rtf.py", "--bundle", enhancer, "--input", speech, "--seconds", "0.1", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["period_ms"] == 16
    assert 0 < result["p50_ms"] <= result["p95_ms"] <= result["p99_ms"]
    assert result["rtf_p50"] == pytest.approx(result["p50_ms"] / 16, abs=2e-5)
    assert result["units"] >= 200
    assert len(result["model_sha256"]) == 64
    assert result["runtime"] and result["machine"]
    low, high = result["pi4_rtf"]  # the fixture's manifest has no multiplications
    assert low == 0 and high == pytest.approx(result["nodes"] * 5e-6 / 0.016)


def test_rtf_of_a_classifier(classifier: Path, pictures: Path) -> None:
    done = script("rtf.py", "--bundle", classifier, "--input", pictures, "--seconds", "0.1")
    assert done.returncode == 0, done.stderr
    assert "per picture" in done.stdout
    assert "p95" in done.stdout
    assert "Raspberry Pi" not in done.stdout


def test_speedup_reports_the_spread_over_rounds(enhancer: Path, speech: Path) -> None:
    done = script(
        "speedup.py", "--baseline", enhancer, "--compressed", enhancer, "--input", speech,
        "--rounds", "3", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert 0 < result["speedup_min"] <= result["speedup"] <= result["speedup_max"]
    assert result["bytes_ratio"] == 1
    assert result["rounds"] == 3


def test_different_work_is_not_compared(classifier: Path, enhancer: Path, speech: Path) -> None:
    done = script(
        "speedup.py", "--baseline", enhancer, "--compressed", classifier, "--input", speech
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", ["no bundle", "no pictures", "no sound"])
def test_bad_input_is_one_line(kind: str, tmp_path: Path, classifier: Path, enhancer: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    arguments = {
        "no bundle": ("--bundle", empty),
        "no pictures": ("--bundle", classifier, "--input", empty),
        "no sound": ("--bundle", enhancer, "--input", empty / "missing.wav"),
    }[kind]
    done = script("rtf.py", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
