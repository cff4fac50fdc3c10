"""Fake pruning with architecture search against its controls, at equal child evaluations.

    python scripts/enas_bench.py run --data DIR --out DIR [--arms both,random] [--seeds 0,1,2]
    python scripts/enas_bench.py table --out DIR

Every arm × seed is a run of the recipe (cifar10-enas-small) with one thing changed:

    both      controller, cells and ratios: the method           beta0    the same with β = 0
    random    cells and ratios by chance                         macs     Ratio in MACs
    ratios    ratios alone, over the cells that `both` found     latency  Ratio in milliseconds
    cells-l1  cells alone, then uniform L1 to the share of MACs that `both` kept of its child

so searches have the same number of evaluations and every network the same training. Stages that
are finished are not done again, epochs neither: stop and start as you like; several processes
may share the work by --arms and --seeds (`ratios` and `cells-l1` need the seed's `both`). Scores
are of the last epoch; choices are made on validation, test is read once, at the end of a run.
OUT/ARM-seedN/result.json holds a run, OUT/table.md, curves.svg and pareto.svg all of them.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import pipeline, plots, tasks
from compress.figures import Figure, Series
from compress.networks import EnasTable
from compress.recipe import Recipe, find, load
from compress.steps import Extract, Prune, Search
from compress.store import Record
from compress.task import Task
from compress.tasks.birds import Settings
from device import errors, files
from device.manifest import Frozen
from models.enas import Architecture

RECIPE = "cifar10-enas-small"
SEARCHES: dict[str, dict[str, JsonValue]] = {
    "both": {},
    "random": {"sampler": "random"},
    "beta0": {"beta": 0.0},
    "macs": {"ratio": "macs"},
    "latency": {"ratio": "latency"},
    "cells-l1": {"decide": "cells"},
    "ratios": {"decide": "ratios"},
}
DEFAULT = "both,random,beta0,cells-l1,ratios"
CURVES = ("search: reward", "search: Ratio", "search: Gap", "search: accuracy of one minibatch")
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
cli = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Out = Annotated[Path, typer.Option(help="results")]


class Result(Frozen):
    """One arm with one seed."""

    arm: str
    seed: int
    child_macs: int
    child: float  # top-1 of the unpruned child, validation, percent
    macs: int
    parameters: int
    validation: float
    test: float
    gap: float  # PruneAcc − TrainAcc of the search's choice, points
    evaluations: int
    curves: tuple[Figure, ...]


@cli.command()
def run(
    data: Annotated[Path, typer.Option(help="folder that holds cifar10/")],
    out: Out,
    arms: Annotated[str, typer.Option(help=", ".join(SEARCHES))] = DEFAULT,
    seeds: Annotated[str, typer.Option()] = "0,1,2",
    recipe: Annotated[
        str, typer.Option(help="a recipe with [search] and an extract step")
    ] = RECIPE,
) -> None:
    """Do, or go on with, some arms; the table is written after each."""
    wanted = arms.split(",")
    unknown = [arm for arm in wanted if arm not in SEARCHES]
    if unknown:
        raise errors.BadInputError(f"no arm {unknown[0]!r}; there are {', '.join(SEARCHES)}")
    base = load(recipe)
    for seed in _seeds(seeds):
        task = tasks.plugin(base.task, find(recipe)).make(base.settings, (data,), seed)
        for arm in wanted:
            path = _folder(out, arm, seed) / "result.json"
            if not path.is_file():
                made = _run(base, task, data, out, arm, seed)
                files.write_bytes(path, made.model_dump_json(indent=1).encode())
            write(out)


def _seeds(text: str) -> list[int]:
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise errors.BadInputError(f"--seeds {text}: expected numbers, as in 0,1,2")
    return [int(part) for part in text.split(",")]


@cli.command()
def table(out: Out) -> None:
    """Write table and figures of what is finished, and print the table."""
    print(write(out))


def _run(base: Recipe, task: Task, data: Path, out: Path, arm: str, seed: int) -> Result:
    changed, folder = _variant(base, out, arm, seed), _folder(out, arm, seed)
    if changed.settings != base.settings:  # the network is given: a task of its own
        task = tasks.plugin(base.task, find(RECIPE)).make(changed.settings, (data,), seed)
    trained = pipeline.train(changed, task, folder, seed, Console(soft_wrap=True))
    found, child, last = trained.records[0], trained.records[1], trained.records[-1]
    assert isinstance(found.structure, dict)
    told = {name: float(str(found.structure[name])) for name in ("accuracy", "pruned")}
    return Result(
        arm=arm,
        seed=seed,
        child_macs=child.macs,
        child=_score(child),
        macs=last.macs,
        parameters=last.parameters,
        validation=_score(last),
        test=task.evaluate(trained.result, task.final_split()).value,
        gap=100 * (told["pruned"] - told["accuracy"]),
        evaluations=int(str(found.structure["evaluations"])),
        curves=tuple(figure for figure in found.figures if figure.title in CURVES),
    )


def _variant(base: Recipe, out: Path, arm: str, seed: int) -> Recipe:
    """The recipe of an arm.

    Raises:
        BadInputError: the recipe has no search, or the arm needs a `both` that is not there.
    """
    if base.search is None or not isinstance(base.settings, Settings):
        raise errors.BadInputError(f"{base.name}: has no [search] of image classifiers")
    search = Search.model_validate({**base.search.model_dump(), **SEARCHES[arm]})
    changes: dict[str, object] = {"search": search}
    if arm == "ratios":
        model = base.settings.model
        assert isinstance(model, EnasTable)
        cells = _architecture(out, seed).unpruned()
        model = model.model_copy(update={"architecture": cells})
        changes["settings"] = base.settings.model_copy(update={"model": model})
    if arm == "cells-l1":
        both = _result(_folder(out, "both", seed) / "result.json")
        cut = Prune(
            kind="prune",
            criterion="l1",
            scope="uniform",
            macs=both.macs / both.child_macs,
            round_to=1,
        )
        changes["steps"] = tuple(cut if isinstance(s, Extract) else s for s in base.steps)
    return base.model_copy(update=changes)


def write(out: Path) -> str:
    """table.md, pareto.svg and curves.svg of the finished runs; returns the table."""
    results = [_result(path) for path in sorted(out.glob("*-seed*/result.json"))]
    if not results:
        raise errors.BadInputError(f"{out}: no finished run yet")
    arms = [arm for arm in SEARCHES if any(one.arm == arm for one in results)]
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
    curves = [
        Figure(
            title=title,
            x="evaluations",
            y=next(f.y for f in results[0].curves if f.title == title),
            series=tuple(_curve(arm, groups[arm], title) for arm in arms),
        )
        for title in CURVES
    ]
    files.write_bytes(out / "curves.svg", plots.figures(curves).encode())
    return text


def _line(arm: str, runs: Sequence[Result]) -> tuple[str, ...]:
    return (
        arm,
        _mean([one.child_macs / 1e6 for one in runs]),
        _mean([one.child for one in runs]),
        _mean([one.macs / 1e6 for one in runs]),
        f"{fmean(one.macs / one.child_macs for one in runs):.0%}",
        _mean([one.validation for one in runs]),
        _mean([one.test for one in runs]),
        _mean([one.gap for one in runs]),
        str(runs[0].evaluations),
        str(len(runs)),
    )


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{fmean(values):.2f}{spread}"


def _points(arm: str, runs: Sequence[Result]) -> Series:
    return Series(
        name=arm,
        x=tuple(one.macs / 1e6 for one in runs),
        y=tuple(one.validation for one in runs),
    )


def _curve(arm: str, runs: Sequence[Result], title: str) -> Series:
    """Mean over the seeds of a figure's first curve."""
    curves = [next(f for f in one.curves if f.title == title).series[0] for one in runs]
    y = tuple(fmean(values) for values in zip(*(curve.y for curve in curves), strict=True))
    return Series(name=arm, x=curves[0].x, y=y)


def _architecture(out: Path, seed: int) -> Architecture:
    path = _folder(out, "both", seed) / "stages" / "00-enas" / "architecture.json"
    try:
        return Architecture.model_validate_json(path.read_bytes())
    except OSError as error:
        raise errors.BadInputError(f"{path}: not there: run the arm `both` first") from error


def _result(path: Path) -> Result:
    try:
        return Result.model_validate_json(path.read_bytes())
    except OSError as error:
        raise errors.BadInputError(f"{path}: not there: run the arm `both` first") from error


def _score(record: Record) -> float:
    return record.validation[record.primary]


def _folder(out: Path, arm: str, seed: int) -> Path:
    return out / f"{arm}-seed{seed}"


if __name__ == "__main__":
    errors.run(cli)
