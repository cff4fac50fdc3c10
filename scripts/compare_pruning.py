"""Pruning methods side by side: same baseline, same budgets, same fine-tuning, several seeds.

    python scripts/compare_pruning.py run STUDY --data DIR --out DIR [--part I/N]
    python scripts/compare_pruning.py table STUDY --out DIR
    python scripts/compare_pruning.py keep STUDY --data DIR --out DIR

A study (benchmarks/studies/*.toml) names a recipe, whose task, network and baseline it takes, the
budgets and seeds, one schedule of further training, and the methods. Every method × budget × seed
is a cell: its steps start from the seed's baseline, its scores are one JSON file, written when it
is done; finished cells and stages are not done again, so a study may be stopped and split over
processes (`--part 0/2` and `--part 1/2`; the seeds' baselines must be there first: `--part 0/0`).
`keep` puts finished baselines into benchmarks/baselines/, where `run` finds them on any machine.

A study without budgets is of steps that choose how much to remove (`fake-prune`); a control there
names the method that it is to `match`, seed by seed, and runs after it.

All choices (which method is best) are to be made on the validation column. The test column is the
same networks on the test split.
"""

import copy
import sys
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, Literal

import typer
from pydantic import Field, field_validator
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import advance, recipe, store
from compress.steps import Change, Finetune, Schedule
from device import errors, files
from device.manifest import Frozen
from scripts import baselines, rivals, studies

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
cli = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


class Method(Frozen):
    """One line of the table: steps before the further training, without their budget."""

    name: str
    by: Literal["control", "torch-pruning", "fieldwren"]
    steps: tuple[dict[str, Any], ...]
    scratch: bool = Field(False, description="the pruned shape anew, trained for all epochs")
    distil: bool = Field(False, description="further training with the baseline as teacher")
    lr: float | None = Field(None, gt=0, description="of the further training, if not the study's")
    seeds: tuple[int, ...] | None = None
    budgets: tuple[studies.Share, ...] | None = None
    match: str | None = Field(None, description="method whose share, of the same seed, is kept")


class Study(Frozen):
    """The file."""

    recipe: str
    seeds: tuple[int, ...] = Field(min_length=1)
    budgets: tuple[studies.Share, ...] = Field(
        (), description="shares of multiply-accumulates kept; none: the steps choose"
    )
    finetune: Schedule
    method: tuple[Method, ...]

    _distinct = field_validator("method")(studies.distinct)


class Row(Frozen):
    """What came out of one cell."""

    method: str
    by: str
    budget: float | None
    seed: int
    macs: int
    parameters: int
    baseline_macs: int
    cut: float | None = Field(description="validation score before the further training")
    validation: float
    baseline_validation: float
    test: float
    baseline_test: float
    seconds: float
    key: str | None = Field(None, description="of what the cell was asked for; None: not known")


@cli.command()
def run(
    study: Path,
    data: Annotated[Path, typer.Option(help="data folder of the recipe")],
    out: Annotated[Path, typer.Option(help="results; finished cells there are kept")],
    part: Annotated[
        str, typer.Option(help="I/N: every N-th cell from I on; 0/0: baselines")
    ] = "0/1",
) -> None:
    """Do the cells that are not done yet."""
    rivals.register()
    chosen = studies.read(study, Study)
    cells = [
        (seed, method, budget)
        for seed in chosen.seeds
        for method in chosen.method
        for budget in method.budgets or chosen.budgets or (None,)
        if seed in (method.seeds or chosen.seeds)
    ]
    for _, method, budget in cells:  # before anything is trained
        _steps(chosen, method, 0.5 if method.match is not None else budget)
    mine = studies.share(cells, part)
    for seed in chosen.seeds:
        todo = [c for c in mine if c[0] == seed and not _done(chosen, out, *c)]
        if todo or not mine:  # a part without cells makes the baselines
            runner = Runner(chosen, data, out, seed)
            for _, method, budget in todo:
                runner.cell(method, budget)


class Runner:
    """The cells of one seed."""

    def __init__(self, study: Study, data: Path, out: Path, seed: int) -> None:
        self.study, self.out, self.seed = study, out, seed
        self.start = baselines.start(study.recipe, data, out, seed)

    @cached_property
    def baseline_test(self) -> float:
        """The baseline's score on the test split."""
        return self.start.task.evaluate(self.start.net, "test").value

    def cell(self, method: Method, budget: float | None) -> None:
        """Prune, train further, score, write the row."""
        start = self.start
        net, records = self.walk(method, budget)
        before = [record for record in records[:-1] if record.plan is not None]
        row = Row(
            method=method.name,
            by=method.by,
            budget=budget,
            seed=self.seed,
            macs=records[-1].macs,
            parameters=records[-1].parameters,
            baseline_macs=start.record.macs,
            cut=before[-1].validation[before[-1].primary] if before else None,
            validation=records[-1].validation[records[-1].primary],
            baseline_validation=start.record.validation[start.record.primary],
            test=start.task.evaluate(net, "test").value,
            baseline_test=self.baseline_test,
            seconds=sum(record.seconds for record in records),
            key=_key(self.study, self.seed, method, budget),
        )
        path = _row(self.out, method, budget, self.seed)
        files.write_bytes(path, row.model_dump_json(indent=1).encode())
        print(f"{path.stem}: {row.validation:.2f}, baseline {row.baseline_validation:.2f}")

    def walk(self, method: Method, budget: float | None) -> tuple[nn.Module, list[store.Record]]:
        """The network that a cell ends with, and its stages; those that are finished are reused."""
        name = _cell(method.name, budget, self.seed)
        net = copy.deepcopy(self.start.fresh if method.scratch else self.start.net)
        study, key = self.study, store.key(name, self.start.place.key)
        records: list[store.Record] = []
        if method.scratch:
            epochs = self.start.recipe.baseline.epochs + study.finetune.epochs
            whole = self.start.recipe.baseline.model_copy(update={"epochs": epochs})
            study = study.model_copy(update={"finetune": whole})
        share = self._matched(method.match) if method.match is not None else budget
        for number, step in enumerate(_steps(study, method, share)):
            key = advance.key(step, key)
            place = store.Place(self.out / "cells" / name / f"{number}-{advance.kind(step)}", key)
            record = advance.advance(
                place,
                self.start.task,
                net,
                step,
                seed=self.seed,
                example=self.start.example,
                teacher=self.start.net,
                say=print,
            )
            records.append(record)
        return net, records

    def _matched(self, name: str) -> float:
        path = self.out / "rows" / f"{_cell(name, None, self.seed)}.json"
        if not path.exists():
            raise errors.BadInputError(f'{path}: not there: run the method "{name}" first')
        row = Row.model_validate_json(path.read_bytes())
        return row.macs / row.baseline_macs


def _steps(study: Study, method: Method, share: float | None) -> list[Change]:
    """A cell's steps and its further training.

    Raises:
        BadInputError: a step is none, or they train for longer than the study allows.
    """
    budget = None if share is None else {"macs": share}
    steps = [studies.step(method.name, table, budget) for table in method.steps]
    schedule = study.finetune
    left = schedule.epochs - sum(s.epochs for s in steps if isinstance(s, Schedule))
    if left < 1:
        raise errors.BadInputError(
            f"{method.name}: its steps leave no epoch of the study's {schedule.epochs} to fine-tune"
        )
    further = {**schedule.model_dump(), "epochs": left, "distil": method.distil}
    if method.lr is not None:
        further["lr"] = method.lr
    return [*steps, Finetune(kind="finetune", **further)]


def _cell(method: str, budget: float | None, seed: int) -> str:
    share = "found" if budget is None else f"{budget:g}"
    return f"{studies.slug(method).strip('-')}-{share}-seed{seed}"


def _key(study: Study, seed: int, method: Method, budget: float | None) -> str:
    """Of everything that a cell is asked for; its stages' keys hold the data, too."""
    asked = method.model_dump(exclude_defaults=True, exclude={"by", "seeds", "budgets"})
    table = study.finetune.model_dump(exclude_defaults=True)
    return store.key(files.sha256(recipe.find(study.recipe)), table, asked, budget, seed)


def _done(study: Study, out: Path, seed: int, method: Method, budget: float | None) -> bool:
    """Is there a row of this very cell? A changed method, schedule or recipe asks for another."""
    path = _row(out, method, budget, seed)
    if not path.exists():
        return False
    known = Row.model_validate_json(path.read_bytes()).key
    return known in (None, _key(study, seed, method, budget))


def _row(out: Path, method: Method, budget: float | None, seed: int) -> Path:
    return out / "rows" / f"{_cell(method.name, budget, seed)}.json"


@cli.command()
def keep(
    study: Path,
    data: Annotated[Path, typer.Option(help="data folder of the recipe")],
    out: Annotated[Path, typer.Option(help="results of run")],
) -> None:
    """Put the baselines that are finished into benchmarks/baselines/."""
    chosen = studies.read(study, Study)
    for seed in chosen.seeds:
        if (out / f"baseline-seed{seed}" / store.RECORD).exists():
            start = baselines.start(chosen.recipe, data, out, seed)
            print(baselines.keep(start.place, start.name, start.task.data()))


@cli.command()
def table(study: Path, out: Annotated[Path, typer.Option(help="results of run")]) -> None:
    """Print what is done so far as a Markdown table: mean ± standard deviation over seeds."""
    chosen = studies.read(study, Study)
    rows = [
        Row.model_validate_json(path.read_bytes()) for path in sorted((out / "rows").glob("*.json"))
    ]
    if not rows:
        raise errors.BadInputError(f"{out}: no finished cell: run the study first")
    of = defaultdict(list)
    for row in rows:
        of[row.budget, row.method].append(row)
    for budget in chosen.budgets or (None,):
        of_all = "" if budget is None else f"\n{budget:.0%} of the multiply-accumulates\n"
        print(of_all)
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
        ranked = sorted(
            (found for (share, _), found in of.items() if share == budget),
            key=lambda found: -fmean(row.validation for row in found),
        )
        for found in ranked:
            cells = [
                found[0].method,
                found[0].by,
                _spread([row.macs / 1e6 for row in found]),
                _spread([row.parameters / 1e3 for row in found]),
                _spread([row.cut for row in found if row.cut is not None]),
                _spread([row.validation for row in found]),
                _spread([row.test for row in found]),
                _spread([row.test - row.baseline_test for row in found], signed=True),
                str(len(found)),
            ]
            print(f"| {' | '.join(cells)} |")


def _spread(values: list[float], *, signed: bool = False) -> str:
    """Mean ± standard deviation over seeds."""
    if not values:
        return "–"
    mean = f"{fmean(values):{'+' if signed else ''}.2f}"
    return f"{mean} ± {stdev(values):.2f}" if len(values) > 1 else mean


if __name__ == "__main__":
    errors.run(cli)
