"""How apps.speech ends where it was not meant to: nothing half done, nothing unreadable."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from tests.apps.test_speech import ROOT, TIMEOUT

STOPPED = """
import contextlib, os, signal
from apps import speech
from device import errors

@contextlib.contextmanager
def stopping():
    yield lambda share: os.kill(os.getpid(), signal.SIGTERM)

speech.progress_bar = stopping
errors.run(speech.cli)
"""


def test_enhance_that_is_told_to_end_leaves_nothing(enhancer: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(48_000), 16_000)
    done = subprocess.run(
        [
            *(sys.executable, "-c", STOPPED, "enhance", tmp_path / "in.wav", tmp_path / "out.wav"),
            *("--bundle", enhancer),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["identity", "in.wav"]


def test_an_error_nobody_expected_has_a_plain_traceback() -> None:
    """A journal has no width, and boxes of one are hard to send to anybody."""
    script = (
        "from apps import speech\n"
        "def load(file): raise RuntimeError('unexpected')\n"
        "speech.config.load = load\n"
        "speech.errors.run(speech.cli)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "run", "--config", "x.toml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert done.stderr.endswith("RuntimeError: unexpected\n")
