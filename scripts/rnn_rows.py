"""OUT/rows.csv of scripts/rnn_bench.py: a line for every cell that was done."""

import csv
import json
from pathlib import Path
from typing import Any

from device import files

ROWS = "rows.csv"
CELL = ("method", "budget", "seed")
KEY = "key"  # of what the cell was asked for; none: not known


def rows(out: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    """What is done, by cell; None where an older file has no such column."""
    path = out / ROWS
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as source:
        lines = [{n: v or None for n, v in line.items()} for line in csv.DictReader(source)]
    return {tuple(str(line[name]) for name in CELL): line for line in lines}


def with_keys(out: Path) -> None:
    """An older file gets a column for the keys of rows to come."""
    path = out / ROWS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if lines and not lines[0].endswith(f",{KEY}"):
        text = "".join(f"{line},{'' if index else KEY}\r\n" for index, line in enumerate(lines))
        files.write_bytes(path, text.encode())


def append(out: Path, row: dict[str, Any]) -> None:
    """Add a line in one write; a column that is new makes the file anew, with all that there are.

    Processes that share a study may append at a time; the key stays last, where with_keys looks.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, done = out / ROWS, rows(out)
    rounded = {n: float(f"{v:.6g}") if isinstance(v, float) else v for n, v in row.items()}
    names = list(next(iter(done.values()), ()))
    if rounded.keys() <= set(names):
        with path.open("a", newline="", encoding="utf-8") as target:
            csv.DictWriter(target, names).writerow(rounded)
    else:
        names = [*(n for n in dict.fromkeys((*names, *row)) if n != KEY), KEY]
        others = [old for cell, old in done.items() if cell != tuple(str(row[n]) for n in CELL)]
        with (
            files.replacing(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as target,
        ):
            writer = csv.DictWriter(target, names)
            writer.writeheader()
            writer.writerows((*others, rounded))
    print(json.dumps(rounded))
