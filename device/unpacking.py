"""The files of a bundle out of a folder or a tar archive that nobody vouches for yet.

Only plain files, all in one folder, no links, no paths that lead elsewhere, at most MAX_BYTES.
"""

import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from device.errors import BadInputError

MAX_BYTES = 256 * 1024 * 1024
MAX_FILES = 64


def unpack(source: Path, target: Path) -> None:
    """Copy the bundle's files from a folder or archive into the empty folder `target`.

    Raises:
        BadInputError: missing, too large, or with anything but plain files.
        OSError: the target's disk.
    """
    if source.is_dir():
        _copy_folder(source, target)
    elif source.is_file():
        _copy_archive(source, target)
    else:
        raise BadInputError(f"{source}: no such bundle folder or archive")


def _copy_folder(source: Path, target: Path) -> None:
    budget = _Budget(source)
    for path in sorted(source.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise BadInputError(f"{path}: a bundle holds only plain files")
        budget.take(path.stat().st_size)
        shutil.copyfile(path, target / path.name)


def _copy_archive(source: Path, target: Path) -> None:
    try:
        with tarfile.open(source, "r:") as archive:
            for member, name in _members(source, archive):
                content = archive.extractfile(member)
                assert content is not None  # plain files have content
                with content, (target / name).open("xb") as copy:
                    shutil.copyfileobj(content, copy)
    except FileExistsError as error:
        raise BadInputError(f"{source}: holds a file twice") from error
    except tarfile.TarError as error:
        raise BadInputError(f"{source}: not a readable .tar archive: {error}") from error


def _members(source: Path, archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """Plain files `name` or `folder/name`, all in the same folder."""
    budget = _Budget(source)
    folder: PurePosixPath | None = None
    for member in archive:
        path = PurePosixPath(member.name)
        if member.isdir() and len(path.parts) <= 1 and ".." not in path.parts:
            continue
        if not member.isfile():
            raise BadInputError(f"{source}: {member.name}: a bundle holds only plain files")
        if path.is_absolute() or ".." in path.parts or len(path.parts) > 2:
            raise BadInputError(f"{source}: {member.name}: leads out of the bundle's folder")
        if folder not in (None, path.parent):
            raise BadInputError(f"{source}: {member.name}: a bundle is one folder")
        folder = path.parent
        budget.take(member.size)
        yield member, path.name


class _Budget:
    """How much a bundle may still bring."""

    def __init__(self, source: Path) -> None:
        self._source, self._bytes, self._files = source, 0, 0

    def take(self, size: int) -> None:
        self._bytes += size
        self._files += 1
        if self._bytes > MAX_BYTES or self._files > MAX_FILES:
            raise BadInputError(
                f"{self._source}: too large for a bundle: at most {MAX_FILES} files and "
                f"{MAX_BYTES // 2**20} MB"
            )
