"""The outbox: messages on disk until the broker has acknowledged them.

SQLite in WAL mode with synchronous=NORMAL: a put costs about 0.1 ms and survives the death of the
process; a power cut can lose the last moments but never corrupts. Insert before publishing,
delete after the acknowledgement, send what is left in id order. Bounded by rows, bytes and age:
the oldest go first and are counted. Age is counted while the file is open, by a clock that is never
set, and goes on from the newest row: the date is no measure on a machine that starts with an old
one. One process owns the file (exclusive lock).
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from device import config
from device.errors import BadInputError

log = logging.getLogger(__name__)

LOCK_TIMEOUT = 5.0  # seconds to wait for a dying process to let go of the file
TABLE = """CREATE TABLE IF NOT EXISTS outbox(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL, payload BLOB NOT NULL, created REAL NOT NULL, session TEXT NOT NULL)"""
SIZE = "length(CAST(topic AS BLOB)) + length(payload)"
DELETE = f"DELETE FROM outbox WHERE id = ? RETURNING {SIZE}"
CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
PARTS = ("", "-wal", "-shm")  # the files of one database


@dataclass(frozen=True)
class Row:
    """One stored message. `session` is the connection it was made in, empty when offline."""

    id: int
    topic: str
    payload: bytes
    created: float  # seconds, on the outbox's own clock
    session: str


@dataclass(frozen=True)
class Counters:
    """What became of messages since this object was made."""

    stored: int = 0
    delivered: int = 0
    dropped: int = 0  # the oldest, to stay within the bounds
    lost: int = 0  # could not be written: disk full or failing
    corrupt: int = 0  # whole files moved aside


class Outbox:
    """First in, first out, on disk. Every method may be called from any thread.

    Args:
        path: the database file; its folder is made.
        limits: bounds in rows, bytes (topics and payloads) and age.
        clock: seconds since whenever; it is never set.
    Raises:
        BadInputError: the file cannot be opened, or another process has it.
    """

    def __init__(
        self, path: Path, limits: config.Outbox, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path, self._limits, self._clock = path, limits, clock
        self._lock = threading.RLock()
        self._counters = Counters()
        self._rows = self._size = self._last = 0
        self._warned: set[str] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except (OSError, sqlite3.Error) as error:
            raise BadInputError(f"{path}: cannot open the outbox: {error}") from error

    def put(self, topic: str, payload: bytes, session: str = "") -> bool:
        """Store a message. False, and counted as lost, when the disk refuses it."""
        with self._lock:
            try:
                self._insert(topic, payload, session)
            except sqlite3.Error as error:
                if self._recovered(error):
                    return self.put(topic, payload, session)
                self._count(lost=1)
                self._warn(f"message not stored: {error}")
                return False
            self._count(stored=1)
            return True

    def after(self, row_id: int, limit: int) -> list[Row]:
        """The oldest messages with a larger id, in order, at most `limit`."""
        with self._lock:
            try:
                with self._database:
                    kept = self._trimmed(self._rows, self._size)
                self._settle(*kept)
                found = self._database.execute(
                    "SELECT id, topic, payload, created, session FROM outbox"
                    " WHERE id > ? ORDER BY id LIMIT ?",
                    (row_id, limit),
                )
                return [Row(*values) for values in found]
            except sqlite3.Error as error:
                if not self._recovered(error):
                    self._warn(f"cannot read: {error}")
                return []

    def delete(self, ids: Iterable[int]) -> bool:
        """Forget delivered messages. False when the disk refuses: try again later."""
        with self._lock:
            try:
                with self._database:
                    gone = [self._database.execute(DELETE, (row_id,)).fetchone() for row_id in ids]
            except sqlite3.Error as error:
                if self._recovered(error):
                    return True
                self._warn(f"delivered messages not deleted: {error}")
                return False
            sizes = [found[0] for found in gone if found]
            self._rows, self._size = self._rows - len(sizes), self._size - sum(sizes)
            self._count(delivered=len(sizes))
            self._warned.clear()
            return True

    def __len__(self) -> int:
        """Messages waiting."""
        return self._rows

    @property
    def size(self) -> int:
        """Bytes of topics and payloads waiting."""
        return self._size

    @property
    def counters(self) -> Counters:
        """A snapshot."""
        return self._counters

    def close(self) -> None:
        """Let go of the file. What waits stays on disk."""
        with self._lock:
            self._database.close()

    def _insert(self, topic: str, payload: bytes, session: str) -> None:
        with self._database:
            cursor = self._database.execute(
                "INSERT INTO outbox(topic, payload, created, session) VALUES (?, ?, ?, ?)",
                (topic, payload, self._now(), session),
            )
            kept = self._trimmed(self._rows + 1, self._size + len(topic.encode()) + len(payload))
        self._last = cursor.lastrowid or self._last
        self._settle(*kept)

    def _trimmed(self, rows: int, size: int) -> tuple[int, int, int]:
        """Delete the oldest of `rows` messages of `size` bytes until the rest is within bounds.

        Returns rows and bytes that stay, and how many went.
        """
        limits, last, before = self._limits, 0, rows
        too_old = self._now() - limits.max_age
        for row_id, created, length in self._database.execute(
            f"SELECT id, created, {SIZE} FROM outbox ORDER BY id"
        ):
            if rows <= limits.max_rows and size <= limits.max_bytes and created >= too_old:
                break
            rows, size, last = rows - 1, size - length, row_id
        if last:
            self._database.execute("DELETE FROM outbox WHERE id <= ?", (last,))
        return rows, size, before - rows

    def _settle(self, rows: int, size: int, dropped: int) -> None:
        """Believe a transaction's figures once it is committed."""
        self._rows, self._size = rows, size
        if dropped:
            self._count(dropped=dropped)
            self._warn("full, or messages too old: dropping the oldest")

    def _count(self, **more: int) -> None:
        old = self._counters
        self._counters = replace(old, **{k: getattr(old, k) + n for k, n in more.items()})

    def _warn(self, what: str) -> None:
        """One line per trouble until a delivery has cleared it; the counters have the numbers."""
        if what not in self._warned:
            self._warned.add(what)
            log.warning("%s: %s", self.path, what)

    def _open(self) -> None:
        try:
            self._connect()
        except sqlite3.DatabaseError as error:
            if not self._recovered(error):
                raise

    def _connect(self) -> None:
        self._database = database = sqlite3.connect(
            self.path, timeout=LOCK_TIMEOUT, check_same_thread=False
        )
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        with database:
            database.execute(TABLE)
        found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise _CorruptError(found)
        self._rows, self._size, newest = database.execute(
            f"SELECT count(*), coalesce(sum({SIZE}), 0), coalesce(max(created), 0) FROM outbox"
        ).fetchone()
        self._begin: float = newest - self._clock()

    def _now(self) -> float:
        """Seconds on the clock that `created` is read from."""
        return self._begin + self._clock()

    def _recovered(self, error: sqlite3.Error) -> bool:
        """Move a corrupt file aside and begin a new one. False when that is not the trouble."""
        code = getattr(error, "sqlite_errorcode", None)
        if code not in CORRUPT and not isinstance(error, _CorruptError):
            return False
        self._database.close()
        aside = self.path.with_name(f"{self.path.name}.corrupt")
        for part in PARTS:
            old = self.path.with_name(self.path.name + part)
            if old.exists():
                old.replace(aside.with_name(aside.name + part))
        self._connect()
        with self._database:  # ids go on: a reader behind a cursor misses nothing
            self._database.execute(
                "INSERT INTO sqlite_sequence VALUES ('outbox', ?)", (self._last,)
            )
        self._count(corrupt=1)
        log.warning("%s: corrupt (%s): moved to %s, begun anew", self.path, error, aside)
        return True


class _CorruptError(sqlite3.DatabaseError):
    """What SQLite's own check found."""
