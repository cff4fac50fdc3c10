"""Pictures of visits on disk, never more than a number of bytes together."""

import logging
from dataclasses import dataclass
from pathlib import Path

from device import files

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counters:
    """What happened since the start."""

    kept: int = 0
    removed: int = 0  # the oldest, to make room
    refused: int = 0  # larger than the whole cap, or the disk failed


class Snapshots:
    """A folder with a cap. Whatever lies in it counts and goes by age, whatever its name."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self.counters = Counters()

    def keep(self, name: str, content: bytes) -> Path | None:
        """Store a file, removing the oldest first; None when it cannot be kept."""
        old = self.counters
        try:
            removed = self._make_room(len(content))
            if len(content) > self.max_bytes:
                self.counters = Counters(old.kept, old.removed + removed, old.refused + 1)
                return None
            files.write_bytes(self.folder / name, content)
        except OSError as error:
            self.counters = Counters(old.kept, old.removed, old.refused + 1)
            log.warning("%s: snapshot not kept: %s", self.folder, error.strerror)
            return None
        self.counters = Counters(old.kept + 1, old.removed + removed, old.refused)
        return self.folder / name

    def _make_room(self, size: int) -> int:
        """Remove the oldest files until `size` more bytes fit; how many went."""
        self.folder.mkdir(parents=True, exist_ok=True)
        found = [(path.stat(), path) for path in self.folder.iterdir() if path.is_file()]
        found.sort(key=lambda pair: pair[0].st_mtime_ns)
        total = sum(status.st_size for status, _ in found)
        removed = 0
        for status, path in found:
            if total + size <= self.max_bytes:
                break
            path.unlink()
            total -= status.st_size
            removed += 1
        return removed
