"""Recurrent networks compressed in several ways to the same sizes, over several seeds.

    python scripts/rnn_bench.py run STUDY --data DIR --out DIR [--part I/N]
    python scripts/rnn_bench.py table STUDY --out DIR

A study (benchmarks/studies/language.toml, dtln.toml) names a recipe, whose task, network and
baseline it takes, budgets (shares of the baseline's true parameters), seeds, and methods. Every
method × budget × seed is a cell: its steps start from the seed's baseline, further training
included. A finished cell is one line of OUT/rows.csv, its last one where it was asked for again
because the study or the data was changed; finished cells and stages are not done again, so a study
may be stopped, or split over processes (`--part 0/2` and `--part 1/2`; first `--part 0/0` makes the
seeds' baselines). A row of before rows told their data counts as one of the recipe's own: it is
shown, and not done again.

All choices are to be made on the validation columns. The test columns are the same networks on the
test split; with `int8`, also the exported files in float32 and in that number format, which are to
be compared with each other: a file may read the split in another order than the network does.
"""

import copy
import sys
import tempfile
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
import typer
from pydantic import Field, field_validator
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import advance, count, defaults, export, measure, recipe, store, tasks
from compress.recipe import Measure
from compress.rnn.counts import counts
from compress.steps import Change, Quantize, Schedule
from compress.task import OneStep, Quality, Task
from device import errors, files
from device.manifest import Frozen
from scripts import studies
from scripts.rnn_rows import CELL, DATA, KEY, LAST, append, rows, with_keys

BUDGET = "budget"  # in a step's table: the cell's share of parameters
COLUMNS = (*CELL, "parameters", "share", "paper_share", "recurrent_share")
cli = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@runtime_checkable
class Stepwise(Protocol):
    """What a task of recurrent networks has beside compress/task.py."""

    def one_step(self, net: nn.Module) -> dict[str, OneStep]:
        """The exported parts."""
        ...


@runtime_checkable
class Scalable(Protocol):
    """A task whose network can be made smaller as it is."""

    def smaller(self, parameters: int) -> nn.Module:
        """A fresh network of the same proportions and no more parameters."""
        ...


@runtime_checkable
class Filed(Protocol):
    """A task that scores exported files."""

    def evaluate_files(self, models: dict[str, Path], split: str) -> Quality:
        """Scores of the files."""
        ...


class Method(Frozen):
    """One line of the table."""

    name: str
    steps: tuple[dict[str, Any], ...] = Field(description='"budget" stands for the cell\'s share')
    scratch: bool = Field(False, description="a smaller network from scratch; steps only train it")
    budgets: tuple[studies.Share, ...] | None = None


BASELINE = Method(name="baseline", steps=(), budgets=(1.0,))


class Study(Frozen):
    """The file."""

    recipe: str = Field(description="path beside the study, or the name of a shipped one")
    seeds: tuple[int, ...] = Field(min_length=1)
    budgets: tuple[studies.Share, ...] = Field(description="shares of the true parameters kept")
    pretrained: bool = Field(False, description="the task's network is the baseline, as it is")
    int8: bool = Field(False, description="score the files, in float32 and in dynamic int8, too")
    int8_keep: dict[str, tuple[str, ...]] = Field(
        {}, description="of an exported part: layers that then stay float16"
    )
    method: tuple[Method, ...]

    _distinct = field_validator("method")(studies.distinct)


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
    chosen = studies.read(study, Study)
    cells = [
        (seed, method, budget)
        for seed in chosen.seeds
        for method in (BASELINE, *chosen.method)
        for budget in method.budgets or chosen.budgets
    ]
    mine = studies.share(cells, part)
    for seed in chosen.seeds:
        own = [cell for cell in mine if cell[0] == seed]
        if mine and not own:
            continue
        runner = Runner(chosen, study.parent, data, out, seed)
        if not mine:  # a part without cells makes the baselines
            print(f"seed {seed}: {count.parameters(runner.baseline):,} parameters")
            continue
        done, given = rows(out), studies.data(runner.task)
        for cell in own:
            key, row = _key(chosen, study.parent, *cell), done.get(_cell(*cell))
            if row is None or row.get(KEY) not in (None, key) or row.get(DATA) not in (None, given):
                with_keys(out)
                append(out, runner.cell(*cell[1:]) | {DATA: given, KEY: key})


class Runner:
    """The cells of one seed; nothing is trained before it is needed."""

    def __init__(self, study: Study, beside: Path, data: Path, out: Path, seed: int) -> None:
        self.study, self.out, self.seed = study, out, seed
        path = _recipe(study, beside)
        self.recipe = recipe.load(path)
        plugin = tasks.plugin(self.recipe.task, recipe.find(path))
        self.task: Task = plugin.make(self.recipe.settings, defaults.folders(data), seed)
        self.key = advance.root(self.task, self.recipe.task, self.recipe.settings, seed)
        if not study.pretrained:
            self.key = advance.key(self.recipe.baseline, self.key)

    @cached_property
    def example(self) -> Tensor:
        """Of the task, for counting."""
        return self.task.example()

    @cached_property
    def baseline(self) -> nn.Module:
        """What all cells start from."""
        torch.manual_seed(self.seed)
        net = self.task.build()
        if not self.study.pretrained:
            place = store.Place(self.out / f"baseline-seed{self.seed}", self.key)
            self._advance(place, net, self.recipe.baseline, None)
        return net

    def cell(self, method: Method, budget: float) -> dict[str, Any]:
        """Compress, train further, score: a row of the table."""
        net, before = self.walk(method, budget)
        found, whole = counts(net), counts(self.baseline)
        row: dict[str, Any] = dict(
            zip(
                COLUMNS,
                (
                    method.name,
                    studies.exact(budget),
                    self.seed,
                    found.true,
                    found.true / whole.true,
                    found.paper / whole.paper,
                    found.recurrent / whole.recurrent,
                ),
                strict=True,
            )
        )
        for split in ("validation", "test"):
            scores = self.task.evaluate(net, split).scores
            if split == "validation":  # an empty column where nothing is trained after a change
                row |= {f"untrained_{name}": before.get(name, "") for name in scores}
            row |= {f"{split}_{name}": value for name, value in scores.items()}
        return row | self.files(net)

    def files(self, net: nn.Module) -> dict[str, float]:
        """Bytes, milliseconds a step and, in int8, scores of the exported parts."""
        assert isinstance(self.task, Stepwise)
        parts = self.task.one_step(net)
        found: dict[str, float] = {}
        found["step_macs"] = float(
            sum(
                count.macs(p.net, *(torch.from_numpy(p.examples[0][n]) for n in p.inputs))
                for p in parts.values()
            )
        )
        for scheme in ("fp32", "dynamic-int8") if self.study.int8 else ("fp32",):
            kept = self.study.int8_keep if scheme != "fp32" else {}
            with tempfile.TemporaryDirectory() as folder:
                models = {name: Path(folder) / f"{name}.tflite" for name in parts}
                spent = 0.0
                for name, part in parts.items():
                    numbers = Quantize(kind="quantize", scheme=scheme, keep=kept.get(name, ()))
                    export.export(part, numbers, models[name], Path(folder) / "golden.npz")
                    inputs = export.by_key(part, part.examples)
                    spent += measure.latency(models[name], inputs, Measure()).p50_ms
                found[f"{scheme}_bytes"] = float(sum(m.stat().st_size for m in models.values()))
                found[f"{scheme}_ms"] = spent
                if self.study.int8 and isinstance(self.task, Filed):
                    scores = self.task.evaluate_files(models, "test").scores
                    found |= {f"{scheme}_test_{name}": value for name, value in scores.items()}
        return found

    def walk(self, method: Method, budget: float) -> tuple[nn.Module, dict[str, float]]:
        """The network that a cell ends with, and its validation scores before the last training."""
        cell = f"{studies.slug(method.name)}-{studies.exact(budget)}-seed{self.seed}"
        net, key = copy.deepcopy(self.baseline), store.key(cell, self.key)
        if method.scratch:
            if not isinstance(self.task, Scalable):
                raise errors.BadInputError(f"{method.name}: this task trains nothing from scratch")
            torch.manual_seed(self.seed)
            net = self.task.smaller(int(budget * count.parameters(self.baseline)))
        before: dict[str, float] = {}
        for number, table in enumerate(method.steps):
            filled = {name: budget if value == BUDGET else value for name, value in table.items()}
            step = studies.step(method.name, filled)
            key = advance.key(step, key)
            place = store.Place(self.out / "cells" / cell / f"{number}-{advance.kind(step)}", key)
            record = self._advance(place, net, step, copy.deepcopy(self.baseline))
            if number < len(method.steps) - 1:
                before = record.validation
        return net, before

    def _advance(
        self, place: store.Place, net: nn.Module, step: Schedule | Change, teacher: nn.Module | None
    ) -> store.Record:
        return advance.advance(
            place,
            self.task,
            net,
            step,
            seed=self.seed,
            example=self.example,
            teacher=teacher,
            say=print,
        )


def _recipe(study: Study, beside: Path) -> str:
    own = beside / study.recipe
    return str(own) if own.is_file() else study.recipe


def _cell(seed: int, method: Method, budget: float) -> tuple[str, ...]:
    """A cell's first columns."""
    return (method.name, studies.exact(budget), str(seed))


def _key(study: Study, beside: Path, seed: int, method: Method, budget: float) -> str:
    """Of everything that a cell is asked for but the data, which its row holds beside it."""
    scored = study.model_dump(include={"pretrained", "int8", "int8_keep"}, exclude_defaults=True)
    asked = method.model_dump(exclude_defaults=True, exclude={"budgets"})
    text = files.sha256(recipe.find(_recipe(study, beside)))
    return store.key(text, scored, asked, budget, seed)


@cli.command()
def table(study: Path, out: Annotated[Path, typer.Option(help="results of run")]) -> None:
    """Print what is done so far as a Markdown table: mean ± standard deviation over seeds."""
    chosen = studies.read(study, Study)
    methods = {method.name: method for method in (BASELINE, *chosen.method)}
    order = list(methods)
    of: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    changed = 0
    for (name, budget, seed), row in rows(out).items():
        if name not in methods:
            continue
        asked = _key(chosen, study.parent, int(seed), methods[name], float(budget))
        if row.get(KEY) in (None, asked):
            of[name, budget].append(row)
        else:
            changed += 1
    if not of:
        raise errors.BadInputError(f"{out}: no finished cell of this study: run the study first")
    studies.one_data(out, ((r["seed"], r.get(DATA)) for found in of.values() for r in found))
    names = [n for n in next(iter(of.values()))[0] if n not in (*CELL, *LAST)]
    print(f"| method | budget | seeds | {' | '.join(names)} |\n|{'---|' * (len(names) + 3)}")
    ranked = sorted(of.items(), key=lambda item: (-float(item[0][1]), order.index(item[0][0])))
    for (method, budget), found in ranked:
        figures = [studies.spread([float(row[n]) for row in found if row[n]]) for n in names]
        share = studies.percent(float(budget))
        print(f"| {method} | {share} | {len(found)} | {' | '.join(figures)} |")
    if changed:
        print(f"\n{changed} cells left out: the study has changed since: run it again")


if __name__ == "__main__":
    errors.run(cli)
