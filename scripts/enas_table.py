"""What the arms of enas_bench.py found: a file a run, one table and two pictures of all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from pydantic import ValidationError

from compress import plots
from compress.figures import Figure, Series
from device import errors, files
from device.manifest import Frozen

FILE = "result.json"
CURVES = (
    "search: reward",
    "search: Ratio",
    "search: Gap",
    "search: accuracy of one minibatch",
    "search: entropy of the controller",
)
COLUMNS = (
    "arm",
    "child, M MACs",
    "child, validation",
    "result, M MACs",
    "kept",
    "result, validation",
    "result, test",
    "gap of the search, points",
    "evaluations",
    "seeds",
)


class Result(Frozen):
    """One arm with one seed. `key` is its last stage's: another recipe makes another result."""

    key: str
    arm: str
    seed: int
    child_macs: int
    child: float  # top-1 of the unpruned child, validation, percent
    macs: int
    parameters: int
    validation: float
    test: float | None  # None: the recipe has no test data
    gap: float | None  # PruneAcc − TrainAcc of the search's choice, points
    evaluations: int
    curves: tuple[Figure, ...]
    base: str | None = None  # fingerprint of recipe and data, arm and seed apart; None: of before


def read(path: Path) -> Result:
    """A run's result.

    Raises:
        BadInputError: the run is not finished, or was by an older version.
    """
    try:
        return Result.model_validate_json(path.read_bytes())
    except OSError as error:
        raise errors.BadInputError(f"{path}: not there: run this arm first") from error
    except ValidationError as error:
        raise errors.BadInputError(f"{path}: of another version: run this arm again") from error


def write(out: Path, order: Sequence[str]) -> str:
    """table.md, pareto.svg and curves.svg of the finished runs in OUT/ARM-seedN; returns the table.

    Raises:
        BadInputError: none is finished.
    """
    found = {}
    for path in sorted(out.glob(f"*-seed*/{FILE}")):
        try:
            found[path] = read(path)
        except errors.BadInputError as error:
            print(f"left out: {error}")  # and do not stop those that are at work
    if not found:
        raise errors.BadInputError(f"{out}: no finished run yet")
    results = _alike(found)
    arms = [arm for arm in order if any(one.arm == arm for one in results)]
    groups = {arm: [one for one in results if one.arm == arm] for arm in arms}
    lines = [COLUMNS, ("---",) * len(COLUMNS)] + [_line(arm, groups[arm]) for arm in arms]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    files.write_bytes(out / "table.md", text.encode())
    points = [_points(arm, groups[arm]) for arm in arms]
    children = Series(
        name="unpruned children",
        x=tuple(one.child_macs / 1e6 for one in results),
        y=tuple(one.child for one in results),
    )
    pareto = Figure(
        title="searched and pruned networks, every seed",
        x="M multiply-accumulates",
        y="top-1, validation, %",
        series=(*points, children),
        kind="marks",
    )
    files.write_bytes(out / "pareto.svg", plots.figures([pareto]).encode())
    searches = [arm for arm in arms if groups[arm][0].curves]
    curves = [
        Figure(
            title=title,
            x="evaluations",
            y=next(f.y for f in groups[searches[0]][0].curves if f.title == title),
            series=tuple(_curve(arm, groups[arm], title) for arm in searches),
        )
        for title in CURVES
        if searches
    ]
    files.write_bytes(out / "curves.svg", plots.figures(curves).encode())
    return text


def _alike(found: Mapping[Path, Result]) -> list[Result]:
    """Those of the newest one's recipe and data; where it is not said, nothing speaks against."""
    said = [path for path, one in found.items() if one.base is not None]
    newest = max(said, key=lambda path: path.stat().st_mtime_ns, default=None)
    results = []
    for path, one in found.items():
        if newest is None or one.base in (None, found[newest].base):
            results.append(one)
        else:
            print(
                f"left out: {path}: of another recipe or other data than {newest}: "
                "run this arm again"
            )
    return results


def _line(arm: str, runs: Sequence[Result]) -> tuple[str, ...]:
    evaluations = sorted({one.evaluations for one in runs})
    return (
        arm,
        _mean([one.child_macs / 1e6 for one in runs]),
        _mean([one.child for one in runs]),
        _mean([one.macs / 1e6 for one in runs]),
        f"{fmean(one.macs / one.child_macs for one in runs):.0%}",
        _mean([one.validation for one in runs]),
        _mean([one.test for one in runs if one.test is not None]),
        _mean([one.gap for one in runs if one.gap is not None]),
        "–".join(str(end) for end in dict.fromkeys((evaluations[0], evaluations[-1]))),
        str(len(runs)),
    )


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "–"
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{fmean(values):.2f}{spread}"


def _points(arm: str, runs: Sequence[Result]) -> Series:
    return Series(
        name=arm,
        x=tuple(one.macs / 1e6 for one in runs),
        y=tuple(one.validation for one in runs),
    )


def _curve(arm: str, runs: Sequence[Result], title: str) -> Series:
    """Mean over the seeds of a figure's first curve, as far as the shortest goes."""
    curves = [next(f for f in one.curves if f.title == title).series[0] for one in runs]
    x = tuple(fmean(values) for values in zip(*(curve.x for curve in curves), strict=False))
    y = tuple(fmean(values) for values in zip(*(curve.y for curve in curves), strict=False))
    return Series(name=arm, x=x, y=y)
