"""OUT/rows.csv of scripts/compare_numbers.py: a line for every cell that was done."""

import csv
from pathlib import Path

from pydantic import Field, ValidationError

from device import errors, files
from device.manifest import Frozen

ROWS = "rows.csv"


class Row(Frozen):
    """What came out of one cell."""

    cell: str
    split: str
    metric: str
    score: float
    bytes: int
    deflated: int
    coded: int | None = Field(description="bytes with codebooks, where there are any")
    weights: str
    spared: str
    worst_db: float | None
    answers_db: float | None
    seconds: float
    key: str | None = Field(None, description="of what the cell was asked for; None: not known")
    data: str | None = Field(None, description="that it is of (studies.data); None: not known")

    def stands(self, key: str, data: str) -> bool:
        """Is it of this cell and of this data, as far as it says?"""
        return self.key in (None, key) and self.data in (None, data)


def rows(out: Path) -> list[Row]:
    """Finished cells.

    Raises:
        BadInputError: the file holds something else.
    """
    if not (out / ROWS).is_file():
        return []
    with (out / ROWS).open(newline="", encoding="utf-8") as lines:
        try:
            return [Row.model_validate(_values(line)) for line in csv.DictReader(lines)]
        except ValidationError as error:
            wrong = errors.first_problem(error)
            raise errors.BadInputError(
                f"{out / ROWS}: no rows of this script ({wrong}): move it away"
            ) from error


def _values(line: dict[str, str]) -> dict[str, str | None]:
    """What an empty field of a line means."""
    return {k: v if v or k in ("weights", "spared") else None for k, v in line.items()}


def keep(out: Path, entry: Row) -> None:
    """A cell's line; the file is replaced as a whole, so that none is ever cut in half."""
    others = [row for row in rows(out) if row.cell != entry.cell]
    with (
        files.replacing(out / ROWS) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as to,
    ):
        writer = csv.DictWriter(to, list(Row.model_fields), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.model_dump() for row in (*others, entry))
