"""OUT/rows.csv of scripts/rnn_bench.py: a line for every cell that was done."""

import csv
import json
from pathlib import Path
from typing import Any

from device import files

ROWS = "rows.csv"
CELL = ("method", "budget", "seed")
DATA = "data"  # that it is of (studies.data); none: not known
KEY = "key"  # of what the cell was asked for; none: not known
LAST = (DATA, KEY)  # the last columns, where with_keys looks


def rows(out: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    """What is done, by cell; None where an older file has no such column."""
    path = out / ROWS
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as source:
        lines = [{n: v or None for n, v in line.items()} for line in csv.DictReader(source)]
    return {tuple(str(line[name]) for name in CELL): line for line in lines}


def with_keys(out: Path) -> None:
    """An older file gets columns for the keys and the data of rows to come."""
    path = out / ROWS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if not lines or lines[0].endswith(f",{DATA},{KEY}"):
        return
    keyed = lines[0].endswith(f",{KEY}")
    text = ""
    for index, line in enumerate(lines):
        before, _, key = line.rpartition(",") if keyed else (line, "", "" if index else KEY)
        text += f"{before},{'' if index else DATA},{key}\r\n"
    files.write_bytes(path, text.encode())


def append(out: Path, row: dict[str, Any]) -> None:
    """Add a line in one write; a column that is new makes the file anew, with all that there are.

    Processes that share a study may append at a time.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, done = out / ROWS, rows(out)
    rounded = {n: float(f"{v:.6g}") if isinstance(v, float) else v for n, v in row.items()}
    names = list(next(iter(done.values()), ()))
    if rounded.keys() <= set(names):
        with path.open("a", newline="", encoding="utf-8") as target:
            csv.DictWriter(target, names).writerow(rounded)
    else:
        names = [*(n for n in dict.fromkeys((*names, *row)) if n not in LAST), *LAST]
        others = [old for cell, old in done.items() if cell != tuple(str(row[n]) for n in CELL)]
        with (
            files.replacing(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as target,
        ):
            writer = csv.DictWriter(target, names)
            writer.writeheader()
            writer.writerows((*others, rounded))
    print(json.dumps(rounded))
