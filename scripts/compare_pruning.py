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

OUT is of one data: where its rows are of other data, `run` refuses before it changes anything. A
row of before rows told their data counts as one of the recipe's own: it is shown, not done again,
and other data is not noticed beside it.

A study without budgets is of steps that choose how much to remove (`fake-prune`); a control there
names the method that it is to `match`, seed by seed, and waits for it.

With `shape_of`, and `steps = []`, a control trains another method's shape from scratch: the
channels that went there, at the same budget and seed, are taken from the network as it was built,
which then has all epochs, the baseline's and the further ones. It waits for that method, too: to
the end of the part, which then names the cells whose method another part has not done yet.

All choices (which method is best) are to be made on the validation column. The test column is the
same networks on the test split.
"""

import copy
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

import typer
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import advance, defaults, prune, recipe, store, tasks
from compress.prune import Plan
from compress.steps import Change
from compress.task import Task
from device import errors, files
from scripts import baselines, pruning_table, rivals, studies
from scripts import pruning_cells as cells
from scripts.pruning_cells import Cell, Method, Row, Study

cli = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@cli.command()
def run(
    study: Path,
    data: Annotated[Path, typer.Option(help="data folder of the recipe")],
    out: Annotated[
        Path,
        typer.Option(help="results; finished cells there are kept: other data, another folder"),
    ],
    part: Annotated[
        str, typer.Option(help="I/N: every N-th cell from I on; 0/0: baselines")
    ] = "0/1",
) -> None:
    """Do the cells that are not done yet."""
    rivals.register()
    chosen = studies.read(study, Study)
    cells.check(chosen)
    check_data(chosen, data, out)
    mine = studies.share(chosen.cells(), part)
    if not mine:
        for seed in chosen.seeds:  # a part without cells makes the baselines
            Runner(chosen, data, out, seed)
    if _do(chosen, data, out, mine) and (left := _do(chosen, data, out, mine)):
        names = ", ".join(cells.name(method.name, budget, seed) for seed, method, budget in left)
        first = ", ".join(sorted({f'"{cells.awaited(chosen, out, *cell)}"' for cell in left}))
        raise errors.BadInputError(
            f"{out}: not done: {names}: run the method {first} first, then this part again"
        )


def check_data(study: Study, data: Path, out: Path) -> None:
    """Rows that tell their data are of this one; else not even a baseline may be made anew here.

    Raises:
        BadInputError: they are not.
    """
    told = [row for _, row in cells.finished(study, out) if row.data is not None]
    if not told:  # the data is not read twice for nothing
        return
    loaded = recipe.load(study.recipe)
    plugin = tasks.plugin(loaded.task, recipe.find(study.recipe))
    task: Task = plugin.make(loaded.settings, defaults.folders(data), told[0].seed)
    if {row.data for row in told if row.seed == told[0].seed} != {studies.data(task)}:
        raise errors.BadInputError(
            f"{out}: its rows are of other data than --data {data}: give that an --out of its own"
        )


def _do(study: Study, data: Path, out: Path, mine: Sequence[Cell]) -> list[Cell]:
    """Do the cells that are not done and wait for none; returns those that do."""
    waiting = []
    for seed in study.seeds:
        runner = None
        for cell in mine:
            if cell[0] != seed or cells.done(study, out, *cell):
                continue
            if cells.awaited(study, out, *cell) is not None:
                waiting.append(cell)
                continue
            runner = runner or Runner(study, data, out, seed)
            runner.cell(*cell[1:])
    return waiting


class Runner:
    """The cells of one seed."""

    def __init__(self, study: Study, data: Path, out: Path, seed: int) -> None:
        self.study, self.out, self.seed = study, out, seed
        self.start = baselines.start(study.recipe, data, out, seed)

    @cached_property
    def data(self) -> str:
        """That all rows are of."""
        return studies.data(self.start.task)

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
            key=cells.key(self.study, self.seed, method, budget),
            data=self.data,
        )
        path = cells.row(self.out, method, budget, self.seed)
        files.write_bytes(path, row.model_dump_json(indent=1).encode())
        print(f"{path.stem}: {row.validation:.2f}, baseline {row.baseline_validation:.2f}")

    def walk(self, method: Method, budget: float | None) -> tuple[nn.Module, list[store.Record]]:
        """The network that a cell ends with, and its stages; those that are finished are reused."""
        net = copy.deepcopy(self.start.fresh if method.anew else self.start.net)
        shape = self._shape(method, budget)
        for plan in shape:
            prune.remove(net, self.start.example, plan)
        records: list[store.Record] = []
        for step, place in self._stages(method, budget, shape):
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

    def _stages(
        self, method: Method, budget: float | None, shape: Sequence[Plan] = ()
    ) -> list[tuple[Change, store.Place]]:
        """A cell's steps, each with the place of its stage; `shape` went before the first."""
        name = cells.name(method.name, budget, self.seed)
        study, key = self.study, store.key(name, self.start.place.key)
        if method.anew:
            epochs = self.start.recipe.baseline.epochs + study.finetune.epochs
            whole = self.start.recipe.baseline.model_copy(update={"epochs": epochs})
            study = study.model_copy(update={"finetune": whole})
        if shape:
            key = store.key(key, [plan.model_dump() for plan in shape])
        first = study.first(self.seed, method, budget)
        share = self._matched(first) if first is not None and method.match is not None else budget
        found = []
        for number, step in enumerate(cells.steps(study, method, share)):
            key = advance.key(step, key)
            folder = self.out / "cells" / name / f"{number}-{advance.kind(step)}"
            found.append((step, store.Place(folder, key)))
        return found

    def _shape(self, method: Method, budget: float | None) -> list[Plan]:
        """What went, stage by stage, in the finished cell of the method that `shape_of` names."""
        other = self.study.shaping(method)
        if other is None:
            return []
        path = cells.row(self.out, other, budget, self.seed)
        if not cells.done(self.study, self.out, self.seed, other, budget):
            raise errors.BadInputError(
                f"{method.name}: shape_of: {path} is not there, or its method has changed: "
                f'run the method "{other.name}" first'
            )
        plans = []
        for _, place in self._stages(other, budget):
            record = place.finished()
            if record is None:
                raise errors.BadInputError(
                    f"{method.name}: shape_of: {place.folder} is not there, or of other data: "
                    f'remove {path} and run the method "{other.name}" again'
                )
            if record.plan is not None:
                plans.append(record.plan)
        return plans

    def _matched(self, cell: Cell) -> float:
        """The share of the multiply-accumulates that another cell's row says."""
        seed, method, budget = cell
        path = cells.row(self.out, method, budget, seed)
        row = Row.model_validate_json(path.read_bytes())
        return row.macs / row.baseline_macs


@cli.command()
def keep(
    study: Path,
    data: Annotated[Path, typer.Option(help="data folder of the recipe")],
    out: Annotated[Path, typer.Option(help="results of run")],
) -> None:
    """Put the baselines that are finished into benchmarks/baselines/."""
    chosen = studies.read(study, Study)
    check_data(chosen, data, out)
    for seed in chosen.seeds:
        if (out / f"baseline-seed{seed}" / store.RECORD).exists():
            start = baselines.start(chosen.recipe, data, out, seed)
            print(baselines.keep(start.place, start.name, start.task.data()))


@cli.command()
def table(study: Path, out: Annotated[Path, typer.Option(help="results of run")]) -> None:
    """Print what is done so far as a Markdown table, and draw OUT/pareto.svg.

    Mean ± standard deviation over seeds.
    """
    print(pruning_table.write(studies.read(study, Study), out))


if __name__ == "__main__":
    errors.run(cli)
