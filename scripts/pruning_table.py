"""What a study of pruning methods found: a Markdown table, and accuracy over what is left.

Rows are grouped by budget and ranked by validation; figures are mean ± standard deviation over
seeds.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from compress import plots
from compress.figures import Figure, Series
from device import errors, files
from scripts import pruning_cells as cells
from scripts import studies
from scripts.pruning_cells import Row, Study

PLOT = "pareto.svg"
COLUMNS = (
    "method",
    "of",
    "M MACs",
    "parameters, k",
    "before training",
    "validation",
    "test",
    "change of test",
    "seeds",
)


def write(study: Study, out: Path) -> str:
    """OUT/pareto.svg of the study's cells that are done, as it is now; returns their table.

    Raises:
        BadInputError: none is, or they are of different data.
    """
    of = defaultdict(list)
    for (_, method, budget), row in cells.finished(study, out):
        of[budget, method.name].append(row)
    if not of:
        raise errors.BadInputError(f"{out}: no finished cell: run the study first")
    studies.one_data(out, ((row.seed, row.data) for found in of.values() for row in found))
    lines = []
    for budget in dict.fromkeys(budget for _, _, budget in study.cells()):
        if budget is not None:
            lines += ["", f"{studies.percent(budget)} of the multiply-accumulates", ""]
        lines += [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
        ranked = sorted(
            (found for (share, _), found in of.items() if share == budget),
            key=lambda found: -fmean(row.validation for row in found),
        )
        lines += [f"| {' | '.join(_line(found))} |" for found in ranked]
    files.write_bytes(out / PLOT, plots.figures([_figure(list(of.values()))]).encode())
    return "\n".join(lines)


def _line(found: Sequence[Row]) -> tuple[str, ...]:
    return (
        found[0].method,
        found[0].by,
        _spread([row.macs / 1e6 for row in found]),
        _spread([row.parameters / 1e3 for row in found]),
        _spread([row.cut for row in found if row.cut is not None]),
        _spread([row.validation for row in found]),
        _spread([row.test for row in found]),
        _spread([row.test - row.baseline_test for row in found], signed=True),
        str(len(found)),
    )


def _spread(values: Sequence[float], *, signed: bool = False) -> str:
    """Mean ± standard deviation over seeds."""
    if not values:
        return "–"
    mean = f"{fmean(values):{'+' if signed else ''}.2f}"
    return f"{mean} ± {stdev(values):.2f}" if len(values) > 1 else mean


def _figure(groups: Sequence[Sequence[Row]]) -> Figure:
    """Change of the test score over the share that is left, a line for every method."""
    points = defaultdict(list)
    for found in groups:
        share = 100 * fmean(row.macs / row.baseline_macs for row in found)
        points[found[0].method].append(
            (share, fmean(row.test - row.baseline_test for row in found))
        )
    return Figure(
        title="mean over seeds, against each seed's baseline",
        x="multiply-accumulates left, %",
        y="change of the test score",
        series=tuple(_series(name, sorted(found)) for name, found in points.items()),
        kind="marks",
    )


def _series(name: str, points: Sequence[tuple[float, float]]) -> Series:
    return Series(name=name, x=tuple(x for x, _ in points), y=tuple(y for _, y in points))
