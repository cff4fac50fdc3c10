"""The files that teachers come from: what they hold is part of what a result depends on."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from compress.steps.base import Distil
from device import bundle, files

BASELINE = "baseline"


def fingerprints(step: BaseModel) -> list[str]:
    """Of the teachers from files that a step names, wherever its tables name them."""
    return [fingerprint(table) for table in _tables(step) if table.teacher != BASELINE]


def paths(step: BaseModel) -> list[Path]:
    """Where these teachers are."""
    return [_path(table) for table in _tables(step) if table.teacher != BASELINE]


def fingerprint(table: Distil) -> str:
    """Over a teacher's file, or a bundle's manifest with the hashes in it, and its labels.

    What is not there does not count: whoever opens it says so.
    """
    teacher = _path(table)
    parts = [teacher / bundle.MANIFEST if teacher.is_dir() else teacher]
    if table.labels is not None:
        parts.append(Path(table.labels).expanduser())
    found = [files.sha256(part) if part.is_file() else "" for part in parts]
    return hashlib.sha256(" ".join(found).encode()).hexdigest()


def _path(table: Distil) -> Path:
    return Path(table.teacher).expanduser()


def _tables(step: BaseModel) -> Iterator[Distil]:
    if isinstance(step, Distil):
        yield step
        return
    for name in type(step).model_fields:
        value = getattr(step, name)
        if isinstance(value, BaseModel):
            yield from _tables(value)
