"""Number formats side by side: one trained network, deployed in every scheme, scored and timed.

    python scripts/compare_numbers.py run STUDY --stage DIR --data DIR --out DIR
    python scripts/compare_numbers.py time STUDY --out DIR [--runtime PYTHON]…
    python scripts/compare_numbers.py table STUDY --out DIR

A study (benchmarks/studies/numbers-*.toml) names a recipe, whose task and network it takes, and the
cells: steps that end with quantize, in an order that a recipe might have. They start from a
finished stage (--stage: its folder, with state.pt), the float network. `run` makes a signed bundle
of every cell, scores it through the TFLite file and writes a line of OUT/rows.csv; cells that have
one are not done again unless they or the data were changed, and training that was interrupted goes
on. `time` runs all bundles in turns (scripts/interleaved.py) on this Python's runtime and on every
other named, and writes OUT/times.csv. Choices are to be made with `--split validation`; the shipped
tables read the final split once.

A row of before rows told their data counts as one of the recipe's own: it is shown, and not done
again. Rows of cells that the study no longer has are kept, but neither shown nor timed.
"""

import copy
import csv
import json
import os
import subprocess
import sys
import time as clock
import zlib
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from pydantic import Field, field_validator

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import advance, defaults, recipe, store, tasks
from compress.pack import Packed, pack
from compress.steps import Change, Quantize
from compress.task import Task
from device import bundle, errors, files
from device.manifest import Frozen
from scripts import studies
from scripts.number_rows import Row, keep, rows

TIMES = "times.csv"
COLUMNS = (
    "cell",
    "score",
    "change",
    "file, kB",
    "deflated, kB",
    "as codebook, kB",
    "weights",
    "worst layer, dB",
    "answers, dB",
)
cli = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


class Cell(Frozen):
    """One line of the table."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    steps: tuple[Annotated[Change | Quantize, Field(discriminator="kind")], ...]

    @field_validator("steps")
    @classmethod
    def _as_of_a_recipe(cls, steps: tuple[Change | Quantize, ...]) -> tuple[Change | Quantize, ...]:
        if not steps or not isinstance(steps[-1], Quantize):
            raise ValueError("the last step of a cell must be quantize")
        recipe.nothing_undone(steps)
        return steps

    @property
    def changes(self) -> tuple[Change, ...]:
        """What comes before the numbers."""
        return tuple(step for step in self.steps if not isinstance(step, Quantize))

    def key(self, parent: str, *scored: str) -> str:
        """Of everything that the cell is asked for."""
        for step in self.changes:
            parent = advance.key(step, parent)
        return store.key(parent, self.steps[-1].model_dump(exclude_defaults=True), *scored)


class Study(Frozen):
    """The file; the first cell is what the others are compared with."""

    recipe: str
    cell: tuple[Cell, ...]

    _distinct = field_validator("cell")(studies.distinct)


@cli.command()
def run(
    study: Path,
    stage: Annotated[Path, typer.Option(help="folder of the finished float stage")],
    data: Annotated[Path, typer.Option(help="data folder of the recipe")],
    out: Annotated[Path, typer.Option(help="results; finished cells there are kept")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    split: Annotated[str, typer.Option(help="final or validation")] = "final",
    only: Annotated[str | None, typer.Option(help="one cell")] = None,
) -> None:
    """Do the cells that are not done yet."""
    chosen = studies.read(study, Study)
    names = [cell.name for cell in chosen.cell]
    if only not in (None, *names):
        raise errors.BadInputError(
            f"--only {only}: no cell of {study}: there are {', '.join(names)}"
        )
    if split not in ("final", "validation"):
        raise errors.BadInputError(f"--split {split}: expected final or validation")
    loaded = recipe.load(chosen.recipe)
    plugin = tasks.plugin(loaded.task, recipe.find(chosen.recipe))
    task: Task = plugin.make(loaded.settings, defaults.folders(data), seed)
    net = task.build()
    try:
        net.load_state_dict(torch.load(stage / store.STATE, weights_only=True))
    except OSError as error:
        raise errors.BadInputError(
            f"--stage {stage}: no {store.STATE} there that can be read: give the folder of a "
            "finished stage, such as runs/NAME-seed0/stages/00-baseline"
        ) from error
    except Exception as error:  # of a file that is none of torch's, its errors have no common base
        raise errors.BadInputError(
            f"--stage {stage}: not the weights of the network of {chosen.recipe}"
        ) from error
    net.eval()
    parent, given = store.key(files.sha256(stage / store.STATE), seed), studies.data(task)
    root = store.key(parent, task.data().fingerprint)  # of stages; a row has its data beside it
    scored = task.final_split() if split == "final" else split
    done = {row.cell: row for row in rows(out)}
    for cell in chosen.cell:
        whole = cell.key(parent, files.sha256(recipe.find(chosen.recipe)), scored)
        old = done.get(cell.name)
        if (old and old.stands(whole, given)) or only not in (None, cell.name):
            continue
        started = clock.perf_counter()
        other, key, coded = copy.deepcopy(net), root, None
        for index, step in enumerate(cell.changes):
            key = advance.key(step, key)
            record = advance.advance(
                store.Place(out / "stages" / cell.name / f"{index}-{advance.kind(step)}", key),
                task,
                other,
                step,
                seed=seed,
                example=task.example(),
                teacher=net,
                say=print,
            )
            if isinstance(record.structure, dict) and "stored_bytes" in record.structure:
                coded = int(str(record.structure["stored_bytes"]))
        text = f"# cell {cell.name} of\n{study.read_text(encoding='utf-8')}"
        packed = pack(
            task,
            other.eval(),
            loaded.model_copy(update={"text": text}),
            seed,
            numbers=Quantize.model_validate(cell.steps[-1]),
            target=out / "bundles" / cell.name,
            split=scored,
        )
        found = row(cell.name, packed, coded, clock.perf_counter() - started)
        keep(out, found.model_copy(update={"key": whole, "data": given}))
        print(f"{cell.name}: {packed.quality.primary} {packed.quality.value:.2f}")


def row(name: str, packed: Packed, coded: int | None, seconds: float) -> Row:
    """The figures of one bundle."""
    content = (packed.path / bundle.MODEL).read_bytes()
    exported = packed.exported
    noise = [error.sqnr_db for error in exported.errors]
    return Row(
        cell=name,
        split=packed.split,
        metric=packed.quality.primary,
        score=packed.quality.value,
        bytes=len(content),
        deflated=len(zlib.compress(content, 9)),
        coded=coded,
        weights=" ".join(f"{n}×{kind}" for kind, n in exported.audit.weights.items()),
        spared=" ".join(one.layer for one in exported.sensitivities if one.spared),
        worst_db=min(noise) if noise else None,
        answers_db=noise[-1] if noise else None,
        seconds=seconds,
    )


def finished(study: Path, out: Path) -> list[Row]:
    """The rows of the study's cells, in its order.

    Raises:
        BadInputError: there is none, or they are of different data.
    """
    of = {row.cell: row for row in rows(out)}
    found = [of[cell.name] for cell in studies.read(study, Study).cell if cell.name in of]
    if not found:
        raise errors.BadInputError(f"{out}: no finished cell of {study}: run the study first")
    studies.one_data(out, ((None, row.data) for row in found))
    return found


@cli.command()
def time(
    study: Path,
    out: Annotated[Path, typer.Option(help="results of run")],
    runtime: Annotated[
        list[Path] | None, typer.Option(help="another Python, with tflite-runtime, numpy, typer")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 15,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Time all finished bundles in turns, on every runtime."""
    bundles = [out / "bundles" / row.cell for row in finished(study, out)]
    script = Path(__file__).with_name("interleaved.py")
    lines: list[dict[str, Any]] = []
    for python in (Path(sys.executable), *(runtime or ())):
        command = [python, script, *bundles, "--rounds", str(rounds), "--threads", str(threads)]
        made = subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        if made.returncode:
            reason = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise errors.FieldwrenError(f"{python}: timing failed: {reason}")
        found = json.loads(made.stdout)
        print(f"{found['runtime']}: {found['machine']}")
        for name, entry in found["models"].items():
            lines.append({"runtime": found["runtime"], "cell": name, **entry})
    names = ["runtime", "cell", "p50_ms", "p10_ms", "p90_ms", "difference", "tolerance", "refused"]
    with (
        files.replacing(out / TIMES) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as to,
    ):
        writer = csv.DictWriter(to, names, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(lines)


@cli.command()
def table(study: Path, out: Annotated[Path, typer.Option(help="results of run and time")]) -> None:
    """Print what is done so far as Markdown tables."""
    order = [cell.name for cell in studies.read(study, Study).cell]
    found = finished(study, out)
    print(f"{found[0].metric} on {found[0].split}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for one in found:
        cells = [
            one.cell,
            f"{one.score:.2f}",
            f"{one.score - found[0].score:+.2f}",
            f"{one.bytes / 1e3:.1f}",
            f"{one.deflated / 1e3:.1f}",
            "" if one.coded is None else f"{one.coded / 1e3:.1f}",
            one.weights,
            "" if one.worst_db is None else f"{one.worst_db:.1f}",
            "" if one.answers_db is None else f"{one.answers_db:.1f}",
        ]
        print(f"| {' | '.join(cells)} |")
    if gone := [row.cell for row in rows(out) if row.cell not in order]:
        print(f"\nleft out, as the study has no cell of this name: {', '.join(gone)}")
    if not (out / TIMES).is_file():
        return
    with (out / TIMES).open(newline="", encoding="utf-8") as lines:
        times = [line for line in csv.DictReader(lines) if line["cell"] in order]
    for runtime in dict.fromkeys(line["runtime"] for line in times):
        print(f"\n{runtime}\n\n| cell | p50, ms | rounds' p10–p90 | against {order[0]} | answers |")
        print("|---|---|---|---|---|")
        of = {line["cell"]: line for line in times if line["runtime"] == runtime}
        for line in of.values():
            print(f"| {' | '.join(_timed(line, of.get(order[0])))} |")


def _timed(line: dict[str, str], first: dict[str, str] | None) -> list[str]:
    if line["refused"]:
        return [line["cell"], "refused", "", "", line["refused"]]
    ratio = ""
    if first is not None and first["p50_ms"]:
        ratio = f"{float(first['p50_ms']) / float(line['p50_ms']):.2f} ×"
    right = float(line["difference"]) <= float(line["tolerance"])
    return [
        line["cell"],
        f"{float(line['p50_ms']):.3f}",
        f"{float(line['p10_ms']):.3f}–{float(line['p90_ms']):.3f}",
        ratio,
        "right" if right else f"WRONG: off by {float(line['difference']):.2g}",
    ]


if __name__ == "__main__":
    errors.run(cli)
