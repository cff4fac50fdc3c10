"""Whole files or none: write beside the target, fsync, rename."""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEW, PRIVATE = 0o666, 0o600  # what a file may be before the umask: anybody's, its owner's
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a disk is full, or what one may have of it


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; on success it becomes the target.

    A link stays, and what it leads to is replaced. On an exception the temporary file is removed
    and the old target stays as it was. Who may read and write stays as it was, too; a new file is
    as the umask says.
    """
    target = target.resolve() if target.is_symlink() else target
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = _mode(target)
    with _beside(target, NEW if mode is None else PRIVATE) as temporary:
        yield temporary
        if mode is not None:
            temporary.chmod(mode)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
        sync_folder(target.parent)


def write_bytes(target: Path, content: bytes) -> None:
    """Replace the target's content as one step."""
    with replacing(target) as temporary:
        temporary.write_bytes(content)


def write_once(target: Path, content: bytes) -> None:
    """Write a file for its owner's eyes, whole, unless there is one: whoever is first wins."""
    with _beside(target, PRIVATE) as temporary:
        temporary.write_bytes(content)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        with contextlib.suppress(FileExistsError):
            target.hardlink_to(temporary)
        sync_folder(target.parent)


def _mode(target: Path) -> int | None:
    """Who may read and write the file; None where there is none."""
    try:
        return stat.S_IMODE(target.stat().st_mode) & 0o777
    except FileNotFoundError:
        return None


@contextmanager
def _beside(target: Path, mode: int) -> Iterator[Path]:
    """A temporary file in the target's folder, of this mode less the umask, gone in the end.

    An error that names it names the target instead: the user knows that one.
    """
    prefix = f".{target.name}."
    try:
        temporary = _created(target.parent, prefix, mode)
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        # where it cannot even be made, nobody but the error knows the name; a write names no file
        named = None if error.filename is None else Path(error.filename).name
        ours = error.errno in NO_ROOM if named is None else named.startswith(prefix)
        if not ours:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error


def _created(folder: Path, prefix: str, mode: int) -> Path:
    """An empty file of a name that nothing has yet.

    The umask is the kernel's to apply: to ask for it is to change it, for every thread.
    """
    while True:
        path = folder / f"{prefix}{secrets.token_hex(4)}"
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            return path


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
