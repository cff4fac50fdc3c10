"""The last detections of this machine, one JSON line each, whatever became of the broker."""

import json
import logging
from pathlib import Path
from typing import Any

from device import files

log = logging.getLogger(__name__)

SHOWN = {"Date": (str,), "Time": (str,), "Confidence": (float, int), "CommonName": (str,)}
MAX_BYTES = 4 * 1024 * 1024  # some thousand detections; then the older half goes


class History:
    """A file of JSON lines that stays below a number of bytes."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path, self._max_bytes = path, max_bytes

    def add(self, line: bytes) -> bool:
        """Append one JSON object; False, with a warning, when the disk refuses it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as written:
                size = written.tell()
                if size:  # a power cut may have left half a line
                    written.seek(-1, 2)
                    line = line if written.read(1) == b"\n" else b"\n" + line
                written.write(line + b"\n")
            if size + len(line) + 1 > self._max_bytes:
                lines = self.path.read_bytes().splitlines(keepends=True)
                files.write_bytes(self.path, b"".join(lines[len(lines) // 2 :]))
        except OSError as error:
            log.warning("%s: detection not added: %s", self.path, error.strerror)
            return False
        return True

    def last(self, count: int) -> list[dict[str, Any]]:
        """The newest entries, newest first, each with SHOWN; other lines are left out."""
        if not self.path.is_file():
            return []
        found: list[dict[str, Any]] = []
        for line in reversed(self.path.read_bytes().splitlines()):
            if len(found) == count:
                break
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):  # RecursionError: a thousand open brackets
                continue
            if _is_detection(entry):
                found.append(entry)
        return found


def _is_detection(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        type(entry.get(key)) in kinds for key, kinds in SHOWN.items()
    )
