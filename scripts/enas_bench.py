"""Fake pruning with architecture search against its controls, at equal child evaluations.

    python scripts/enas_bench.py run --data DIR --out DIR [--arms both,random] [--seeds 0,1,2]
    python scripts/enas_bench.py table --out DIR

Every arm × seed is a run of the recipe (cifar10-enas-small) with one thing changed:

    both      controller, cells and ratios: the method           beta0    the same with β = 0
    random    cells and ratios by chance                         macs     Ratio in MACs
    ratios    ratios alone, over the cells that `both` found     latency  Ratio in milliseconds
    cells-l1  cells alone, then uniform L1 to the MACs that extraction left of `both`
    scratch   no search: what `both` ended with, from fresh weights, for as many epochs in all

so searches have the same number of evaluations and every network the same training. Stages that
are finished are not done again, epochs neither: stop and start as you like; several processes
may share the work by --arms and --seeds (the last three need the seed's `both`), or --ray. Scores
are of the last epoch; choices are made on validation, test, if there is any, is read once, at the
end of a run.
OUT/ARM-seedN/result.json holds a run, OUT/table.md, curves.svg and pareto.svg all of them.
"""

import sys
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import torch
import typer
from pydantic import JsonValue
from rich.console import Console
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import advance, defaults, pipeline, store, tasks, workers
from compress.networks import EnasTable
from compress.recipe import Recipe, find, load
from compress.steps import Extract, Prune, Schedule, Search
from compress.store import Record
from compress.task import Task
from compress.tasks.birds import Settings
from device import errors, files
from models.enas import Architecture
from scripts import enas_table

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
SCRATCH = "scratch"
ARMS = (*SEARCHES, SCRATCH)
AFTER_BOTH = ("cells-l1", "ratios", SCRATCH)  # arms that take something from what `both` found
DEFAULT = "both,random,beta0,cells-l1,ratios,scratch"
cli = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Out = Annotated[Path, typer.Option(help="results")]


@dataclass(frozen=True)
class Ended:
    """The network of an arm, its stages (a search's first), and the last one's key.

    `task` is the recipe's as the network sees it: with a resize on the way, another size.
    """

    net: nn.Module
    key: str
    records: tuple[Record, ...]
    task: Task


@cli.command()
def run(
    data: Annotated[Path, typer.Option(help="folder that holds cifar10/")],
    out: Out,
    arms: Annotated[str, typer.Option(help=", ".join(ARMS))] = DEFAULT,
    seeds: Annotated[str, typer.Option()] = "0,1,2",
    recipe: Annotated[
        str, typer.Option(help="a recipe with [search] and an extract step")
    ] = RECIPE,
    ray: Annotated[
        str | None, typer.Option(help="seeds as tasks of a Ray cluster: HOST:PORT, auto or local")
    ] = None,
) -> None:
    """Do, or go on with, some arms; the table is written after each, and of all in the end."""
    wanted = [arm.strip() for arm in arms.split(",")]
    unknown = [arm for arm in wanted if arm not in ARMS]
    if unknown:
        raise errors.BadInputError(f"no arm {unknown[0]!r}; there are {', '.join(ARMS)}")
    # machines of a cluster see the same folders, but start tasks in one of their own
    base, data, out, numbers = _load(recipe), data.resolve(), out.resolve(), _seeds(seeds)
    with workers.start(ray, out) as pool:
        list(pool.map(partial(_arms, base, find(recipe).resolve(), data, out, wanted), numbers))
    enas_table.write(out, ARMS)  # tasks may have written theirs in another order than they read


def _arms(base: Recipe, path: Path, data: Path, out: Path, arms: list[str], seed: int) -> None:
    """One seed's runs; `path` is the recipe's."""
    task = tasks.plugin(base.task, path).make(base.settings, defaults.folders(data), seed)
    for arm in arms:
        made = _run(base, task, data, out, arm, seed)
        result = _folder(out, arm, seed) / enas_table.FILE
        files.write_bytes(result, made.model_dump_json(indent=1).encode())
        enas_table.write(out, ARMS)


def _load(name: str) -> Recipe:
    """The recipe, if its arms can be compared.

    Raises:
        BadInputError: it cannot be read, or has no search, or nothing that removes what was found.
    """
    base = load(name)
    if base.search is None or not isinstance(base.settings, Settings):
        raise errors.BadInputError(f"{base.name}: has no [search] of image classifiers")
    if not any(isinstance(step, Extract) for step in base.steps):
        raise errors.BadInputError(
            f"{base.name}: has no extract step, so nothing that is found would be removed: add one"
        )
    return base


def _seeds(text: str) -> list[int]:
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise errors.BadInputError(f"--seeds {text}: expected numbers, as in 0,1,2")
    return [int(part) for part in text.split(",")]


@cli.command()
def table(out: Out) -> None:
    """Write table and figures of what is finished, and print the table."""
    print(enas_table.write(out, ARMS))


def _run(base: Recipe, task: Task, data: Path, out: Path, arm: str, seed: int) -> enas_table.Result:
    """The arm's result; what is finished for the same key is not scored again."""
    if arm in AFTER_BOTH:
        _need_both(base, task, out, seed)
    origin = _origin(base, task)
    changed, folder = _variant(base, out, arm, seed), _folder(out, arm, seed)
    if changed.settings != base.settings:  # the network is given: a task of its own
        task = tasks.plugin(base.task, find(RECIPE)).make(
            changed.settings, defaults.folders(data), seed
        )
    if arm == SCRATCH:
        ended = _scratch(changed, task, out, seed)
    else:
        if arm == "cells-l1":
            whole = _walk(_unchanged(changed), task, folder, seed)
            changed = _cut(changed, whole, _both(base, task, out, seed))
        ended = _walk(changed, task, folder, seed)
    try:
        known = enas_table.read(folder / enas_table.FILE)
        if (known.key, known.base) == (ended.key, origin):
            return known
    except errors.BadInputError:
        pass  # not there yet, or of an older form
    found, child, last = ended.records[0], ended.records[1], ended.records[-1]
    assert isinstance(found.structure, dict)
    told = {name: float(str(found.structure[name])) for name in ("accuracy", "pruned")}
    searched, split = arm != SCRATCH, task.final_split()
    return enas_table.Result(
        key=ended.key,
        arm=arm,
        seed=seed,
        child_macs=child.macs,
        child=_score(child),
        macs=last.macs,
        parameters=last.parameters,
        validation=_score(last),
        test=ended.task.evaluate(ended.net, split).value if split == "test" else None,
        gap=100 * (told["pruned"] - told["accuracy"]) if searched else None,
        evaluations=int(str(found.structure["evaluations"])) if searched else 0,
        curves=tuple(f for f in found.figures if searched and f.title in enas_table.CURVES),
        base=origin,
    )


def _origin(base: Recipe, task: Task) -> str:
    """What results must have in common to stand in one table: recipe and data, not arm and seed."""
    return store.key(pipeline.last_key(base, task, 0), task.final_split(), task.scored())


def _need_both(base: Recipe, task: Task, out: Path, seed: int) -> None:
    """Raises BadInputError: the arm `both` of this recipe, data and seed is not finished."""
    path = _folder(out, "both", seed) / enas_table.FILE
    if enas_table.read(path).key != pipeline.last_key(base, task, seed):
        raise errors.BadInputError(f"{path}: of another recipe or other data: run `both` again")


def _walk(recipe: Recipe, task: Task, folder: Path, seed: int) -> Ended:
    trained = pipeline.train(recipe, task, folder, seed, Console(soft_wrap=True))
    return Ended(trained.result, trained.result_key, trained.records, trained.task)


def _both(base: Recipe, task: Task, out: Path, seed: int) -> Ended:
    """What the arm `both` ended with: it is finished, so all is reused."""
    return _walk(_variant(base, out, "both", seed), task, _folder(out, "both", seed), seed)


def _unchanged(recipe: Recipe) -> Recipe:
    """The recipe up to the extraction: the child, nothing removed."""
    before = takewhile(lambda step: not isinstance(step, Extract), recipe.steps)
    return recipe.model_copy(update={"steps": tuple(before)})


def _cut(recipe: Recipe, child: Ended, both: Ended) -> Recipe:
    """Uniform L1 in place of the extraction, to the multiply-accumulates that it left of `both`;
    a child that has no more is left whole. What follows, a smaller picture too, is for both."""
    extracted = both.records[len(child.records)]
    share = extracted.macs / child.records[-1].macs
    cut = Prune(kind="prune", criterion="l1", scope="uniform", macs=min(share, 0.99), round_to=1)
    instead = (cut,) if share < 1 else ()
    steps = [instead if isinstance(step, Extract) else (step,) for step in recipe.steps]
    return recipe.model_copy(update={"steps": tuple(one for part in steps for one in part)})


def _scratch(recipe: Recipe, task: Task, out: Path, seed: int) -> Ended:
    """The network that `both` ended with, trained from fresh weights."""
    both = _both(recipe, task, out, seed)
    torch.manual_seed(seed)
    for layer in both.net.modules():
        if callable(reset := getattr(layer, "reset_parameters", None)):
            reset()
    tuned = [step.epochs for step in recipe.steps if isinstance(step, Schedule)]
    epochs = recipe.baseline.epochs + sum(tuned)
    whole = recipe.baseline.model_copy(update={"epochs": epochs})
    key = store.key(SCRATCH, both.key, whole.model_dump())
    record = advance.advance(
        store.Place(_folder(out, SCRATCH, seed) / "stages" / "00-baseline", key),
        both.task,
        both.net,
        whole,
        seed=seed,
        example=both.task.example(),
        teacher=None,
        say=print,
    )
    return Ended(both.net, key, (*both.records[:2], record), both.task)


def _variant(base: Recipe, out: Path, arm: str, seed: int) -> Recipe:
    """The recipe of an arm.

    Raises:
        BadInputError: the arm needs a `both` that is not there.
    """
    assert base.search is not None and isinstance(base.settings, Settings)  # see _load
    search = Search.model_validate({**base.search.model_dump(), **SEARCHES.get(arm, {})})
    changes: dict[str, object] = {"search": search}
    if arm == "ratios":
        model = base.settings.model
        assert isinstance(model, EnasTable)
        cells = _architecture(out, seed).unpruned()
        model = model.model_copy(update={"architecture": cells})
        changes["settings"] = base.settings.model_copy(update={"model": model})
    return base.model_copy(update=changes)


def _architecture(out: Path, seed: int) -> Architecture:
    path = _folder(out, "both", seed) / "stages" / "00-enas" / "architecture.json"
    try:
        return Architecture.model_validate_json(path.read_bytes())
    except OSError as error:
        raise errors.BadInputError(f"{path}: not there: run the arm `both` first") from error


def _score(record: Record) -> float:
    return record.validation[record.primary]


def _folder(out: Path, arm: str, seed: int) -> Path:
    return out / f"{arm}-seed{seed}"


if __name__ == "__main__":
    errors.run(cli)
