"""What scripts that compare methods share: study files, steps from tables, parts of the work."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from compress.steps import Change
from device import errors
from device.manifest import Frozen

STEP: TypeAdapter[Change] = TypeAdapter(Annotated[Change, Field(discriminator="kind")])
Kind = TypeVar("Kind", bound=Frozen)
Cell = TypeVar("Cell")


def read(path: Path, kind: type[Kind]) -> Kind:
    """A study file, checked.

    Raises:
        BadInputError: no such file, or not a study of this kind.
    """
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise errors.BadInputError(f"{path}: not a study: {error}") from error


def share(cells: Sequence[Cell], part: str) -> list[Cell]:
    """The cells of one process, I/N: every N-th from I on; none of 0/0.

    Raises:
        BadInputError: not of this form.
    """
    try:
        index, parts = map(int, part.split("/"))
    except ValueError:
        index, parts = -1, 0
    if not (0 <= index < parts or index == parts == 0):
        raise errors.BadInputError(f"--part {part}: expected I/N with I below N, as in 0/2, or 0/0")
    return list(cells[index::parts]) if parts else []
