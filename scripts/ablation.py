"""What every part of a recipe is worth: each on and off, one CSV row per combination.

    python scripts/ablation.py RECIPE --data DIR [--out DIR] [--seed N]… [--part I/N]
    python scripts/ablation.py table RECIPE [--out DIR]

The parts are the steps that change the network (prune, lowrank, compact, …), distillation, and the
numbers of the deployed file. Training is no part: every combination trains for as many epochs as
the recipe does, so the one with everything off is the baseline given the same further training.
Where a step that trains itself (qat, infcp, a codebook's fine-tuning, …) is off, a plain
fine-tuning with its schedule stands in for it.

All combinations of a seed share their common stages: what one has finished is copied, not trained
again. Rows are written when a combination is done, and rows of this recipe and data are not made
again, so the command may be stopped and started, and split over processes by --part (0/2 and 1/2);
let --part 0/0 train the baselines first. A row of before rows told their data counts as one of the
recipe's own: it is shown, and not made again.

`score` is of the deployed file on the final split and is not for choosing; `validation` is.
"""

import csv
import io
import itertools
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import advance, defaults, pipeline, store, tasks
from compress.pack import pack
from compress.recipe import Recipe, find, load
from compress.steps import Cicr, Codebook, Finetune, NetAdapt, Quantize, Step, Tuning
from compress.task import Task
from device import bundle, errors, files
from scripts import ablation_table, studies

DISTIL, BASELINE = "distil", "baseline"
COLUMNS = (
    "recipe", "seed", "cell", "primary", "score", "validation", "macs", "parameters", "bytes",
    "zipped", "p50_ms", "train_minutes", "key",
    "data",  # that it is of (studies.data); empty: not known
)  # fmt: skip


def parts(recipe: Recipe) -> tuple[str, ...]:
    """Names of what can be switched off, in the recipe's order.

    Raises:
        BadInputError: there is nothing, two steps have the same kind, or how long one trains is
            not known before.
    """
    found: list[str] = [step.kind for step in recipe.steps if not isinstance(step, Finetune)]
    if any(isinstance(step, NetAdapt) and step.finetune is not None for step in recipe.steps):
        raise errors.BadInputError(
            f"{recipe.name}: netadapt fine-tunes until its budget is met: no other combination can "
            "be trained for as long; take finetune out of it"
        )
    if any(own is not None and own.distil for own in map(_training, recipe.steps)):
        found.append(DISTIL)
    if not found:
        raise errors.BadInputError(f"{recipe.name}: no step that could be switched off")
    twice = [kind for kind in found if found.count(kind) > 1]
    if twice:
        raise errors.BadInputError(f"{recipe.name}: two steps are {twice[0]}: which one is meant?")
    return tuple(found)


def variant(recipe: Recipe, on: frozenset[str]) -> Recipe:
    """The recipe without the parts that are not `on`."""
    alone = {"distil": False, "views": None}  # views spare a teacher work: without, all are new
    steps = []
    for step in recipe.steps:
        own = _training(step)
        if own is not None and DISTIL not in on:
            own = own.model_copy(update=alone)
            nested = alone if isinstance(step, Tuning) else {"finetune": own}
            step = step.model_copy(update=nested)
        if isinstance(step, Finetune) or step.kind in on:
            steps.append(step)
        elif own is not None:
            schedule = {name: getattr(own, name) for name in Tuning.model_fields}
            steps.append(Finetune(kind="finetune", **schedule))
    return recipe.model_copy(update={"steps": tuple(steps)})


def _training(step: Step) -> Tuning | None:
    """How a step trains: as its own table says, or the one within it."""
    if isinstance(step, Tuning):
        return step
    return step.finetune if isinstance(step, Codebook | Cicr) else None


def combinations(names: tuple[str, ...]) -> Iterator[frozenset[str]]:
    """All, from none to everything."""
    for count in range(len(names) + 1):
        yield from (frozenset(chosen) for chosen in itertools.combinations(names, count))


def title(names: tuple[str, ...], on: frozenset[str]) -> str:
    """Of one combination: "prune+lowrank", or "baseline"."""
    return "+".join(name for name in names if name in on) or BASELINE


def keys(recipe: Recipe, task: Task, seed: int) -> list[tuple[str, str]]:
    """Folder and key of every training-side stage, first to last, as of compress/pipeline.py."""
    key = advance.root(task, recipe.task, recipe.settings, seed)
    found = []
    changes = [step for step in recipe.steps if not isinstance(step, Quantize)]
    first = () if recipe.search is None else (recipe.search,)
    for index, step in enumerate((*first, recipe.baseline, *changes)):
        key = advance.key(step, key)
        found.append((f"{index:02d}-{advance.kind(step)}", key))
    return found


def share(own: Path, others: list[Path], stages: list[tuple[str, str]]) -> None:
    """Copy what other combinations have finished of the same stages."""
    for name, key in stages:
        if store.Place(own / "stages" / name, key).finished() is not None:
            continue
        for other in others:
            source = other / "stages" / name
            if store.Place(source, key).finished() is not None:
                shutil.rmtree(own / "stages" / name, ignore_errors=True)
                shutil.copytree(source, own / "stages" / name)
                break


def row(
    recipe: Recipe, task: Task, seed: int, cell: str, out: Path, key: str, console: Console
) -> dict[str, str]:
    """Train, deploy and score one combination in `out`/`cell`."""
    trained = pipeline.train(recipe, task, out / cell, seed, console)
    last = recipe.steps[-1] if recipe.steps else pipeline.FLOAT
    packed = pack(
        trained.task,
        trained.result,
        recipe,
        seed,
        numbers=last if isinstance(last, Quantize) else pipeline.FLOAT,
        target=out / cell / recipe.name,
        split=task.final_split(),
    )
    figures, final = packed.manifest.result, trained.records[-1]
    content = (packed.path / bundle.MODEL).read_bytes()
    values = {
        "recipe": recipe.name,
        "seed": seed,
        "cell": cell,
        "primary": packed.quality.primary,
        "score": f"{packed.quality.value:.2f}",
        "validation": f"{final.validation[final.primary]:.2f}",
        "macs": figures.macs,
        "parameters": figures.parameters,
        "bytes": len(content),
        "zipped": len(zlib.compress(content, 9)),
        "p50_ms": f"{figures.latency.p50_ms:.4f}",
        "train_minutes": f"{sum(record.minutes for record in trained.records):.1f}",
        "key": key,
        "data": studies.data(task),
    }
    return {name: str(values[name]) for name in COLUMNS}


def read(path: Path) -> list[dict[str, str]]:
    """Rows that are done.

    Raises:
        BadInputError: the file is not of this script.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as source:
        table = csv.DictReader(source)
        if tuple(table.fieldnames or ()) not in (COLUMNS, COLUMNS[:-1]):
            raise errors.BadInputError(f"{path}: not the columns of an ablation: move it away")
        return [{name: row.get(name, "") for name in COLUMNS} for row in table]


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """All rows, in one go."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    files.write_bytes(path, text.getvalue().encode())


def run(
    recipe: Recipe, task: Task, seed: int, out: Path, part: tuple[int, int], console: Console
) -> list[dict[str, str]]:
    """One seed's combinations, or this process's share of them; returns all rows of its CSV."""
    names = parts(recipe)
    wanted = [(title(names, on), variant(recipe, on)) for on in combinations(names)]
    index, of = part
    table = out / (f"seed{seed}.csv" if of <= 1 else f"seed{seed}-{index}of{of}.csv")
    rows = read(table)
    if of == 0:  # the baseline alone
        bare = recipe.model_copy(update={"steps": ()})
        pipeline.train(bare, task, out / f"seed{seed}" / BASELINE, seed, console)
        return rows
    cells, known = [out / f"seed{seed}" / cell for cell, _ in wanted], ("", studies.data(task))
    for cell, made in wanted[index::of]:
        stages = keys(made, task, seed)
        numbers = [step.model_dump() for step in made.steps if isinstance(step, Quantize)]
        key = store.key("ablation", stages[-1][1], numbers, made.measure.model_dump())
        if any((d["cell"], d["key"]) == (cell, key) and d["data"] in known for d in rows):
            console.print(f"{cell}: done")
            continue
        console.print(f"{cell}: {len(stages)} stages")
        share(out / f"seed{seed}" / cell, cells, stages)
        found = row(made, task, seed, cell, out / f"seed{seed}", key, console)
        rows = [*(done for done in rows if done["cell"] != cell), found]
        write(table, rows)
    return rows


def main(
    recipe: Annotated[str, typer.Argument(help="path of a recipe, or the name of a shipped one")],
    data: Annotated[
        Path | None, typer.Option(envvar="FIELDWREN_DATA", help="default: the default data")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="default: runs/ablation-RECIPE")] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="default: the recipe's")] = None,
    part: Annotated[str, typer.Option(help="I/N: this process's share; 0/0: baselines")] = "0/1",
) -> None:
    """Train, deploy, score and time every combination of a recipe's parts."""
    studies.share((), part)  # refuses what is no part
    index, _, of = part.partition("/")
    loaded = load(recipe)
    folders = defaults.folders(data)
    target, console = out or _folder(loaded), Console(soft_wrap=True)
    for chosen in seed or [loaded.seed]:
        task = tasks.plugin(loaded.task, find(recipe)).make(loaded.settings, folders, chosen)
        rows = run(loaded, task, chosen, target, (int(index), int(of)), console)
        for done in rows:
            console.print(
                f"{done['cell']:<40} {done['primary']} {done['score']}  "
                f"{int(done['macs']) / 1e6:.1f} M MACs  {int(done['bytes']) / 1e3:.0f} kB  "
                f"{done['p50_ms']} ms"
            )
    console.print(f"rows: {target}; load {os.getloadavg()[0]:.1f} while it ended")


def table(
    recipe: Annotated[str, typer.Argument(help="path of a recipe, or the name of a shipped one")],
    out: Annotated[Path | None, typer.Option(help="default: runs/ablation-RECIPE")] = None,
) -> None:
    """Print what is done so far as a Markdown table, mean ± standard deviation over seeds, and draw
    OUT/pareto.svg. Bold: nothing else is better on validation for as few bytes, or for as little
    time."""
    loaded = load(recipe)
    names, folder = parts(loaded), out or _folder(loaded)
    done = {
        (row["cell"], row["seed"]): row
        for path in sorted(folder.glob("seed*.csv"))
        for row in read(path)
    }
    titles = [title(names, on) for on in combinations(names)]
    found = {which: [row for (cell, _), row in done.items() if cell == which] for which in titles}
    if not any(found.values()):
        raise errors.BadInputError(f"{folder}: no finished combination: run the recipe first")
    print(ablation_table.write(found, folder))


def _folder(recipe: Recipe) -> Path:
    return Path("runs") / f"ablation-{recipe.name}"


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] not in ("run", "table", "--help"):
        sys.argv.insert(1, "run")  # a recipe alone is run
    cli = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
    cli.command("run")(main)
    cli.command()(table)
    errors.run(cli)
