"""Installed bundles: several versions side by side, one of them current.

    <store>/<name>/<version>-<sha8>/   a verified bundle; sha8 is of its manifest and signature
    <store>/<name>/current   → the one to use, swapped atomically
    <store>/<name>/previous  → the one before, for rollback

A bundle is copied beside the others and fully verified (hashes, signature, golden vectors) before
anything changes; a full disk or a crash on the way leaves the old one current.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device import bundle, files, unpacking
from device.errors import BadInputError, FieldwrenError
from device.manifest import Manifest
from device.signing import Policy

log = logging.getLogger(__name__)

CURRENT, PREVIOUS = "current", "previous"
INCOMING = ".incoming-"  # folders of unfinished installations


@dataclass(frozen=True)
class Installed:
    """One version in the store. `problem` says why it cannot be used."""

    path: Path
    name: str
    version: str
    sha256: str
    signed: bool
    current: bool
    previous: bool
    problem: str | None = None


class Store:
    """A folder of installed bundles.

    Args:
        folder: made when missing, at the first installation.
        policy: what to do with bundles that no trusted key signed.
        key_folders: where trusted keys are, besides the user's and the package's.
    """

    def __init__(
        self,
        folder: Path,
        policy: Policy = Policy.WARN,
        key_folders: Iterable[Path] = (),
    ) -> None:
        self.folder, self._policy, self._keys = folder, policy, tuple(key_folders)

    def install(self, source: Path) -> Installed:
        """Verify a bundle folder or .tar and make it current.

        Raises:
            BadInputError: not a bundle, refused, or an archive with anything but plain files.
            FieldwrenError: the disk is full or cannot be written; nothing has changed.
        """
        try:
            with self._locked(), self._incoming() as incoming:
                unpacking.unpack(source, incoming)
                found = self._verified(incoming, source)
                _keep_listed(incoming, found.manifest)
                home = self.folder / found.manifest.name
                home.mkdir(exist_ok=True)
                target = home / f"{found.manifest.version}-{_digest(incoming)[:8]}"
                _move_in(incoming, target)
                self._point(home, target)
                installed = self._look(target)
        except OSError as error:
            raise FieldwrenError(
                f"{source}: not installed: {error.strerror or error}; nothing has changed"
            ) from error
        if not installed.signed and self._policy is Policy.WARN:
            log.warning("%s: no trusted key signed this bundle", source)
        return installed

    def rollback(self, name: str) -> Installed:
        """Make the previous version current again, and the current one previous.

        Raises:
            BadInputError: there is no previous version, or it cannot be used any more.
        """
        home = self.folder / name
        previous = _target(home / PREVIOUS)
        if previous is None:
            raise BadInputError(f"{home}: no previous version of {name} to go back to")
        try:
            with self._locked():
                bundle.load(previous, policy=self._policy, key_folders=self._keys)
                self._point(home, previous)
                return self._look(previous)
        except OSError as error:
            raise FieldwrenError(f"{home}: not rolled back: {error.strerror or error}") from error

    def current(self, name: str) -> Path | None:
        """The folder of the current version."""
        return _target(self.folder / name / CURRENT)

    def versions(self) -> list[Installed]:
        """Every version of every bundle, by name and version."""
        homes = self.folder.iterdir() if self.folder.is_dir() else ()
        return [
            self._look(path)
            for home in sorted(home for home in homes if home.is_dir() and home.name[0] != ".")
            for path in sorted(home.iterdir())
            if path.is_dir() and not path.is_symlink() and path.name[0] != "."
        ]

    def _verified(self, incoming: Path, source: Path) -> bundle.Bundle:
        """What was unpacked; what is wrong with it is said of its source, which the user knows."""
        policy = Policy.REQUIRED if self._policy is Policy.REQUIRED else Policy.OFF
        try:
            return bundle.load(incoming, policy=policy, key_folders=self._keys).bundle
        except BadInputError as error:
            inside = f"{source}/" if source.is_dir() else f"{source}: "
            reason = str(error).replace(f"{incoming}/", inside)
            raise BadInputError(reason.replace(str(incoming), str(source))) from error

    def _look(self, path: Path) -> Installed:
        home = path.parent
        version, _, _ = path.name.rpartition("-")
        sha256, signed, problem = "", False, None
        try:
            found = bundle.read(path, Policy.OFF)
            sha256 = found.model_sha256
            signed = _is_signed(path, self._keys)
        except BadInputError as error:
            problem = str(error)
        return Installed(
            path=path,
            name=home.name,
            version=version,
            sha256=sha256,
            signed=signed,
            current=_target(home / CURRENT) == path,
            previous=_target(home / PREVIOUS) == path,
            problem=problem,
        )

    def _point(self, home: Path, target: Path) -> None:
        before = _target(home / CURRENT)
        if before == target:
            return
        if before is not None:
            _swap_link(home / PREVIOUS, before)
        _swap_link(home / CURRENT, target)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One installation at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _incoming(self) -> Iterator[Path]:
        """A folder beside the installed ones; what a crash left of earlier ones is removed."""
        for left in self.folder.glob(f"{INCOMING}*"):
            shutil.rmtree(left, ignore_errors=True)
        incoming = Path(tempfile.mkdtemp(prefix=INCOMING, dir=self.folder))
        try:
            yield incoming
        finally:
            shutil.rmtree(incoming, ignore_errors=True)


def _keep_listed(folder: Path, manifest: Manifest) -> None:
    """Remove what the manifest does not vouch for."""
    listed = {bundle.MANIFEST, bundle.SIGNATURE, *manifest.files}
    for path in folder.iterdir():
        if path.name not in listed:
            path.unlink()


def _digest(folder: Path) -> str:
    """What makes a bundle this one: its manifest, which holds all hashes, and the signature."""
    parts = (folder / bundle.MANIFEST, folder / bundle.SIGNATURE)
    content = b"".join(part.read_bytes() for part in parts if part.exists())
    return hashlib.sha256(content).hexdigest()


def _move_in(incoming: Path, target: Path) -> None:
    """Rename the verified folder into place; a damaged one of the same name makes way."""
    incoming.chmod(0o755)
    for path in incoming.iterdir():
        path.chmod(0o644)
        with path.open("rb") as written:
            os.fsync(written.fileno())
    files.sync_folder(incoming)
    if target.exists():
        try:
            bundle.read(target, Policy.OFF)
        except BadInputError:
            shutil.rmtree(target)
        else:
            return
    incoming.replace(target)
    files.sync_folder(target.parent)


def _swap_link(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target.name)  # relative: the store can be moved
    temporary.replace(link)
    files.sync_folder(link.parent)


def _target(link: Path) -> Path | None:
    """The version a link names, if both are there."""
    if not link.is_symlink():
        return None
    target = link.parent / link.readlink()
    return target if target.is_dir() else None


def _is_signed(path: Path, keys: Iterable[Path]) -> bool:
    try:
        bundle.read(path, Policy.REQUIRED, keys)
    except BadInputError:
        return False
    return True
