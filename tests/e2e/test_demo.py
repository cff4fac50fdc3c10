"""The whole chain: recordings in, detections and cleaner speech out of a real broker."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from compress.defaults import default_data
from device.errors import BadInputError

ROOT = Path(__file__).parents[2]


def demo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "apps.demo", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def data() -> Path:
    try:
        return default_data()
    except BadInputError as error:
        pytest.skip(f"needs the default data: {error}")


def test_birds_and_speech_arrive(data: Path, tmp_path: Path) -> None:
    done = demo("--data", data, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "demo.json").read_text())
    assert "Zebra Finch" in {d["CommonName"] for d in result["detections"]}
    assert (tmp_path / "out" / "snapshot.jpg").read_bytes().startswith(b"\xff\xd8")
    assert result["audio_frames"] >= 1000  # the scene is 20 s long
    noisy, enhanced = result["scores"]["noisy"], result["scores"]["enhanced"]
    assert enhanced["si_sdr"] > noisy["si_sdr"] + 3
    assert enhanced["pesq_wb"] > noisy["pesq_wb"]
    for model in (result["birds"], result["enhancer"]):
        assert model["bytes_ratio"] > 2
        assert model["speedup_min"] > 0


def test_a_demo_without_a_model_fails_in_one_line(data: Path, tmp_path: Path) -> None:
    done = demo("--data", data, "--out", tmp_path / "out", "--zoo", tmp_path / "empty")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no such bundle folder" in done.stderr
    assert not (tmp_path / "out" / "demo.json").exists()
