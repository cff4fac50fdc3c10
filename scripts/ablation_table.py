"""Table and fronts of scripts/ablation.py: what every combination of a recipe's parts came to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from compress import plots
from compress.figures import Figure, Series
from device import files
from scripts import studies

Rows = Mapping[str, Sequence[Mapping[str, str]]]
"""Of every combination, one a seed; without any where it is not done."""

FIGURES = {  # the column's title and unit
    "score": ("score", 1.0),
    "validation": ("validation", 1.0),
    "macs": ("M MACs", 1e6),
    "parameters": ("parameters, k", 1e3),
    "bytes": ("file, kB", 1e3),
    "zipped": ("deflated, kB", 1e3),
    "p50_ms": ("p50, ms", 1.0),
    "train_minutes": ("training, min", 1.0),
}
COSTS = ("bytes", "p50_ms")  # a front of each


def write(found: Rows, out: Path) -> str:
    """Draw OUT/pareto.svg and return the table, means ± standard deviations over seeds.

    Bold: no other combination is better on validation for as few bytes, or in as little time.

    Raises:
        BadInputError: rows of a seed are of different data.
    """
    done = {which: rows for which, rows in found.items() if rows}
    every = [row for rows in done.values() for row in rows]
    studies.one_data(out, ((row["seed"], row["data"] or None) for row in every))
    best = {cost: _front(done, cost) for cost in COSTS}
    drawn = [_figure(done, cost, best[cost]) for cost in COSTS]
    files.write_bytes(out / "pareto.svg", plots.figures(drawn).encode())
    columns = ("combination", *(title for title, _ in FIGURES.values()), "seeds")
    lines = [f"score: {every[0]['primary']} on the final split", ""]
    lines += [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for which, rows in done.items():
        name = f"**{which}**" if any(which in front for front in best.values()) else which
        spreads = [studies.spread(_values(rows, figure)) for figure in FIGURES]
        lines.append(f"| {name} | {' | '.join(spreads)} | {len(rows)} |")
    return "\n".join(lines)


def _values(rows: Sequence[Mapping[str, str]], figure: str) -> list[float]:
    _, unit = FIGURES[figure]
    return [float(row[figure]) / unit for row in rows]


def _point(rows: Sequence[Mapping[str, str]], cost: str) -> plots.Point:
    return fmean(_values(rows, cost)), fmean(_values(rows, "validation"))


def _front(done: Rows, cost: str) -> set[str]:
    """Combinations that none other dominates."""
    points = {which: _point(rows, cost) for which, rows in done.items()}
    best = plots.front(points.values())
    return {which for which, point in points.items() if point in best}


def _figure(done: Rows, cost: str, best: set[str]) -> Figure:
    marks = []
    for which, rows in done.items():
        x, y = _point(rows, cost)
        marks.append(Series(name=f"{which} *" if which in best else which, x=(x,), y=(y,)))
    return Figure(
        title="every combination; * is on the front",
        x=FIGURES[cost][0],
        y="score on validation",
        series=tuple(marks),
        kind="marks",
    )
