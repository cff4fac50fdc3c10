"""What scripts that compare methods share: study files, steps from tables, parts of the work, and
of which data their rows are.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, TypeVar, get_args

from pydantic import Field, TypeAdapter, ValidationError

from compress import store
from compress.steps import Budget, Change
from compress.task import Task
from device import errors, tables
from device.manifest import Frozen

Share = Annotated[float, Field(gt=0, le=1, description="of what the baseline has")]
_STEP: TypeAdapter[Change] = TypeAdapter(Annotated[Change, Field(discriminator="kind")])
Kind = TypeVar("Kind", bound=Frozen)
Cell = TypeVar("Cell")


def read(path: Path, kind: type[Kind]) -> Kind:
    """A study file, checked.

    Raises:
        BadInputError: no such file, or not a study of this kind.
    """
    try:
        return kind.model_validate_json(tables.as_written(tables.read(path)[0]), strict=True)
    except ValidationError as error:
        raise errors.BadInputError(f"{path}: not a study: {errors.first_problem(error)}") from error


def slug(name: str) -> str:
    """A method's name as a part of a path."""
    return re.sub("[^a-z0-9]+", "-", name.lower())


def exact(share: float) -> str:
    """A budget in paths and rows: as short as can be, but never another one's."""
    short = f"{share:g}"
    return short if float(short) == share else repr(share)


def percent(share: float) -> str:
    """A budget in tables, with all of its digits."""
    return f"{(100 * Decimal(exact(share))).normalize():f}%"


def data(task: Task) -> str:
    """Fingerprint of the data that a row is of: what is learned from, and what is scored last."""
    return store.key(task.data().fingerprint, task.scored())


def one_data(out: Path, rows: Iterable[tuple[Any, str | None]]) -> None:
    """Rows, (seed, data), that can be compared; of None it is not known, and they are let pass.

    Raises:
        BadInputError: those of a seed are of different data.
    """
    of: dict[Any, str] = {}
    for seed, known in rows:
        if known is not None and of.setdefault(seed, known) != known:
            raise errors.BadInputError(
                f"{out}: its rows are of different data: do all again with one --data, or give "
                "each an --out of its own"
            )


def distinct(named: tuple[Any, ...]) -> tuple[Any, ...]:
    """A validator: methods or cells whose results do not have the same path."""
    slugs = [slug(one.name).strip("-") for one in named]
    for index, one in enumerate(named):
        if slugs[index] in slugs[:index]:
            raise ValueError(f'"{one.name}" has the letters and figures of another one\'s name')
    return named


def step(
    method: str, table: Mapping[str, Any], budget: Mapping[str, float] | None = None
) -> Change:
    """A method's step from its table; a step that takes a budget gets the cell's.

    Raises:
        BadInputError: it is none.
    """
    try:
        if budget is not None and issubclass(_kinds().get(table.get("kind"), Frozen), Budget):
            table = {**table, **budget}
        return _STEP.validate_json(tables.as_written(table), strict=True)
    except ValidationError as error:
        raise errors.BadInputError(f"{method}: steps: {errors.first_problem(error)}") from error


def _kinds() -> dict[Any, type]:
    """Kind → the class of its table."""
    return {
        kind: table
        for table in get_args(Change)
        for kind in get_args(table.model_fields["kind"].annotation)
    }


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds."""
    if not values:
        return "–"
    mean = f"{fmean(values):.4g}"
    return f"{mean} ± {stdev(values):.2g}" if len(values) > 1 else mean


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
