"""One recipe from several seeds: mean and standard deviation of every figure.

    train every seed (one task of the workers each) → deploy and score here, one after the other

Only training is spread out: latencies are all measured by this process, when nothing else of the
run is busy. Every seed has the results folder of a run of its own, whose stages it shares; a
command that was interrupted goes on from them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console
from rich.table import Table

from compress import distributed, pipeline, tasks
from compress.recipe import Recipe
from compress.report import Report
from compress.task import Task
from compress.workers import Workers
from device import files
from device.manifest import Figures, Frozen

COSTS: Mapping[str, Callable[[Figures], float]] = {
    "multiply-accumulates, M": lambda found: found.macs / 1e6,
    "parameters, thousands": lambda found: found.parameters / 1e3,
    "model.tflite, kB": lambda found: found.bytes / 1e3,
    "latency p50, ms": lambda found: found.latency.p50_ms,
}


@dataclass(frozen=True)
class Plan:
    """What is the same for every seed. Paths are absolute: a worker has a folder of its own."""

    recipe: Recipe
    source: Path  # the recipe's file
    folders: tuple[Path, ...]  # where data is looked up

    def task(self, seed: int) -> Task:
        """The recipe's task; the seed may choose its validation split."""
        plugin = tasks.plugin(self.recipe.task, self.source)
        return plugin.make(self.recipe.settings, self.folders, seed)


class Row(Frozen):
    """One figure before and after compression, a value per seed."""

    name: str
    baseline: tuple[float, ...]
    compressed: tuple[float, ...]
    ratio: bool  # the change is baseline ÷ compressed, else compressed − baseline

    @property
    def change(self) -> tuple[float, ...]:
        """Seed by seed: what both have in common cancels."""
        pairs = zip(self.baseline, self.compressed, strict=True)
        return tuple(a / b if self.ratio else b - a for a, b in pairs)


class Summary(Frozen):
    """All figures of all seeds."""

    recipe: str
    seeds: tuple[int, ...]
    split: str
    rows: tuple[Row, ...]


def run(
    plan: Plan, places: Mapping[int, Path], summary: Path, workers: Workers, console: Console
) -> list[Report]:
    """Run the recipe from every seed of `places`, seed → results folder.

    Their figures are also written to `summary`, a JSON file. Of several processes that train
    together (compress/distributed.py) only the first one deploys and reports.

    Raises:
        FieldwrenError: a stage failed.
    """
    folders = [(seed, out.resolve()) for seed, out in places.items()]
    for seed in workers.map(partial(_train, plan), folders):
        console.print(f"seed {seed}: trained")
    if not distributed.first():
        return []
    reports = [
        pipeline.run(plan.recipe, plan.task(seed), out, seed, console)
        for seed, out in places.items()
    ]
    made = summarise(reports)
    files.write_bytes(summary, made.model_dump_json(indent=1).encode())
    console.print(table(made))
    console.print(f"figures of every seed: {summary}")
    return reports


def summarise(reports: list[Report]) -> Summary:
    """Their figures side by side."""
    scores = [
        Row(
            name=f"{name} ({reports[0].split}, TFLite)",
            baseline=tuple(report.baseline.quality.scores[name] for report in reports),
            compressed=tuple(report.result.quality.scores[name] for report in reports),
            ratio=False,
        )
        for name in reports[0].baseline.quality.scores
    ]
    before = [report.baseline.manifest.result for report in reports]
    after = [report.result.manifest.result for report in reports]
    costs = [
        Row(
            name=name,
            baseline=tuple(read(one) for one in before),
            compressed=tuple(read(one) for one in after),
            ratio=True,
        )
        for name, read in COSTS.items()
    ]
    return Summary(
        recipe=reports[0].recipe.name,
        seeds=tuple(report.seed for report in reports),
        split=reports[0].split,
        rows=tuple(scores + costs),
    )


def table(summary: Summary) -> Table:
    """Mean ± standard deviation (of the sample, n − 1) for the terminal."""
    seeds = ", ".join(map(str, summary.seeds))
    shown = Table(title=f"{summary.recipe}, seeds {seeds}: mean ± standard deviation")
    for column in ("", "baseline", "compressed", "change"):
        shown.add_column(column, justify="left" if not column else "right")
    for row in summary.rows:
        change = f"÷ {_spread(row.change)}" if row.ratio else _spread(row.change, "+")
        shown.add_row(row.name, _spread(row.baseline), _spread(row.compressed), change)
    return shown


def _train(plan: Plan, place: tuple[int, Path]) -> int:
    seed, out = place
    pipeline.train(plan.recipe, plan.task(seed), out, seed, Console(soft_wrap=True, quiet=True))
    return seed


def _spread(values: tuple[float, ...], sign: str = "") -> str:
    mean = fmean(values)
    digits = 2 if abs(mean) >= 1 or sign else 4
    return f"{mean:{sign},.{digits}f} ± {stdev(values):,.{digits}f}"
