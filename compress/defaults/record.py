"""manifest.json of the default data: what each part was made from, and whether all are there."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from compress.defaults.packages import Archive
from device.files import sha256, write_bytes
from device.manifest import Frozen, Sha256

NAME = "manifest.json"
# Raise when the same seed gives other data than before: old data is then made anew.
VERSION = 1

Part = Literal["birds", "speech", "noise", "rooms", "demo"]
PARTS: tuple[Part, ...] = ("birds", "speech", "noise", "rooms", "demo")


class Source(Frozen):
    """One package."""

    package: str
    registry: str
    version: str
    licence: str
    sha256: Sha256 = Field(description="of the archive as downloaded")


class PartRecord(Frozen):
    """One part of the data."""

    seed: int
    version: int
    description: str
    licence: str
    sources: tuple[Source, ...]
    files: int
    items: dict[str, int] = Field(description="pictures, utterances, rooms … per split")
    fingerprint: Sha256 = Field(description="over the names and contents of all files")


class Record(Frozen):
    """The whole of manifest.json."""

    schema_: Literal[1] = Field(1, alias="schema")
    parts: dict[Part, PartRecord]
    fingerprint: Sha256 = Field(description="over the fingerprints of the parts")


def source(archive: Archive) -> Source:
    """Name an archive in the manifest."""
    package = archive.package
    return Source(
        package=package.name,
        registry=package.registry,
        version=archive.version,
        licence=package.licence,
        sha256=sha256(archive.path),
    )


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below a folder."""
    lines = [
        f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read(root: Path) -> dict[Part, PartRecord]:
    """The parts that are complete in a data folder; none for a folder without a valid manifest."""
    try:
        record = Record.model_validate_json((root / NAME).read_bytes())
    except (OSError, ValidationError):
        return {}
    return {
        part: told
        for part, told in record.parts.items()
        if told.version == VERSION and (root / part).is_dir()
    }


def write(root: Path, parts: dict[Part, PartRecord]) -> None:
    """Replace the manifest."""
    told = {part: parts[part] for part in PARTS if part in parts}
    whole = hashlib.sha256("".join(r.fingerprint for r in told.values()).encode()).hexdigest()
    record = Record(parts=told, fingerprint=whole)
    text = record.model_dump_json(by_alias=True, indent=2)
    write_bytes(root / NAME, text.encode() + b"\n")
