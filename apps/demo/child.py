"""A command of ours as a child process: ended by its process id, its last words kept."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from device.errors import FieldwrenError

ROOT = Path(__file__).parents[2]
STOP_TIMEOUT = 20.0  # seconds between SIGTERM and SIGKILL


class Child:
    """`python -m …` of this repository, with this interpreter."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.name = " ".join(arguments[:2])
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by __exit__)
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._log.close()

    def wait(self, timeout: float) -> None:
        """Wait for its own end. FieldwrenError when it takes longer."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise FieldwrenError(f"{self.name} did not end within {timeout:.0f} s") from error

    def stop(self) -> None:
        """Ask it to end, insist after a while."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def check(self) -> None:
        """FieldwrenError, with its last line, if it failed."""
        code = self._process.poll()
        if code:
            self._log.seek(0)
            lines = self._log.read().splitlines() or ["it said nothing"]
            raise FieldwrenError(f"{self.name} ended with exit code {code}: {lines[-1]}")
