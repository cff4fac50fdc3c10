"""A recipe's stages in order: train, prune, fine-tune, deploy, report. Finished ones are reused.

    baseline → prune → fine-tune → … → deploy the baseline (float32) → deploy the result → report

Everything chosen on the way is chosen on the validation split; the test split is read once, by
the deployed bundles and the networks they were made from.
"""

import copy
import csv
import io
import tempfile
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import get_args

import torch
from pydantic import ValidationError
from rich.console import Console
from torch import nn

from compress import advance, diff, distributed, foresight, report, store
from compress.pack import Packed, pack
from compress.recipe import Recipe
from compress.stages import resize
from compress.steps import Quantize
from compress.task import Task
from compress.workers import HERE, Workers
from device import bundle, files, signing
from device.errors import UNUSABLE, BadInputError
from device.manifest import Frozen, Manifest

FLOAT = Quantize(kind="quantize", scheme="fp32")


@dataclass(frozen=True)
class Trained:
    """Where the stages that change the network ended, and the last one's key.

    `task` is the recipe's as the result sees it: with a resize on the way, another size.
    """

    baseline: nn.Module
    baseline_key: str
    result: nn.Module
    result_key: str
    records: tuple[store.Record, ...]
    task: Task


class Deployed(Frozen):
    """What the store knows of a bundle made in an earlier run."""

    key: str
    packed: Packed


def run(
    recipe: Recipe,
    task: Task,
    out: Path,
    seed: int,
    console: Console,
    workers: Workers = HERE,
) -> report.Report:
    """Do what the recipe says; the report is also written to `out`.

    Raises:
        BadInputError: no device runs what this task makes, or `out` takes no files.
        FieldwrenError: a stage failed.
    """
    if task.kind not in get_args(Manifest.model_fields["task"].annotation):
        raise BadInputError(
            f"{recipe.name}: no device runs what task {recipe.task!r} makes, so there is no bundle "
            "to make: scripts/rnn_bench.py runs its stages"
        )
    _open(out)
    files.write_bytes(out / "recipe.toml", recipe.text.encode())
    trained = train(recipe, task, out, seed, console, workers)
    last = recipe.steps[-1]
    numbers = last if isinstance(last, Quantize) else FLOAT
    base = deploy(recipe, task, trained, FLOAT, out, seed, console, None)
    result = deploy(recipe, task, trained, numbers, out, seed, console, base)
    split = task.final_split()
    made = report.Report(
        recipe=recipe,
        seed=seed,
        data=task.data(),
        split=split,
        stages=trained.records,
        baseline=base,
        result=result,
        torch_baseline=task.evaluate(trained.baseline, split),
        torch_result=trained.task.evaluate(trained.result, split),
        changes=diff.modules(trained.baseline, trained.result),
    )
    write_plans_and_epochs(trained.records, out)
    report.write(made, out)
    if made.changes:
        console.print(f"layers that changed:\n{made.changes}", highlight=False, markup=False)
    console.print(report.table(made))
    console.print(f"bundles: {base.path}, {result.path}\nreport: {out / 'report.html'}")
    return made


def last_key(recipe: Recipe, task: Task, seed: int) -> str:
    """The key of the last stage, whether it has been done or not."""
    start = advance.root(task, recipe.task, recipe.settings, seed)
    return reduce(lambda parent, step: advance.key(step, parent), advance.stages(recipe), start)


def train(
    recipe: Recipe,
    task: Task,
    out: Path,
    seed: int,
    console: Console,
    workers: Workers = HERE,
) -> Trained:
    """The stages up to the network that is deployed; searches evaluate on `workers`.

    Raises:
        BadInputError: a step does not fit the task or its model, or `out` takes no files; nothing
            has been trained then.
        FieldwrenError: a stage failed.
    """
    torch.manual_seed(seed)
    net = task.build()
    foresight.check(recipe, task, net)
    if distributed.first():
        _open(out)
    example = task.example()
    teacher: nn.Module | None = None
    key = advance.root(task, recipe.task, recipe.settings, seed)
    baseline_key = key
    records: list[store.Record] = []
    for index, step in enumerate(advance.stages(recipe)):
        key = advance.key(step, key)
        if (viewed := resize.view(task, step)) is not task:
            task, example = viewed, viewed.example()
        place = store.Place(out / "stages" / f"{index:02d}-{advance.kind(step)}", key)
        record = advance.advance(
            place,
            task,
            net,
            step,
            seed=seed,
            example=example,
            teacher=teacher,
            say=console.print,
            workers=workers,
        )
        records.append(record)
        if step is recipe.baseline:
            teacher, baseline_key = copy.deepcopy(net).eval(), key
    assert teacher is not None
    return Trained(teacher, baseline_key, net.eval(), key, tuple(records), task)


def _open(out: Path) -> None:
    """Make the folder of the results, and see that it takes files."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except UNUSABLE as error:
        raise BadInputError(
            f"{out}: results cannot be written there ({error.strerror}): give another folder"
        ) from error


def deploy(
    recipe: Recipe,
    task: Task,
    trained: Trained,
    numbers: Quantize,
    out: Path,
    seed: int,
    console: Console,
    baseline: Packed | None,
) -> Packed:
    """The bundle of the baseline, or, given that, of the result; an intact one is reused."""
    name = recipe.name if baseline else f"{recipe.name}-baseline"
    net, parent = (
        (trained.result, trained.result_key)
        if baseline
        else (trained.baseline, trained.baseline_key)
    )
    key = store.key(
        "deploy",
        numbers.model_dump(),
        recipe.measure.model_dump(),
        parent,
        recipe.text,
        (task.final_split(), task.scored()),
    )
    path = out / "stages" / f"{name}.json"
    try:
        known = Deployed.model_validate_json(path.read_bytes())
        intact = bundle.read(out / name, signing.Policy.REQUIRED)
        if known.key == key and intact.manifest == known.packed.manifest:
            console.print(f"bundle {name}: reused")
            return known.packed.model_copy(update={"path": out / name})
    except (OSError, ValidationError, BadInputError):
        pass  # not made yet, moved or damaged: make it
    console.print(f"bundle {name}: converting, scoring, timing")
    packed = pack(
        trained.task if baseline else task,
        net,
        recipe,
        seed,
        numbers=numbers,
        target=out / name,
        split=task.final_split(),
        baseline=baseline,
    )
    files.write_bytes(path, Deployed(key=key, packed=packed).model_dump_json(indent=1).encode())
    return packed


def write_plans_and_epochs(records: tuple[store.Record, ...], out: Path) -> None:
    """channels.json, the plan of every pruning stage, and epochs.csv, the training log."""
    plans = "[" + ",\n".join(r.plan.model_dump_json(indent=1) for r in records if r.plan) + "]\n"
    files.write_bytes(out / "channels.json", plans.encode())
    text = io.StringIO()
    writer = csv.writer(text)
    names = list(records[0].validation)
    writer.writerow(["stage", "epoch", "lr", "loss", "seconds", *names])
    for index, record in enumerate(records):
        for epoch in record.log:
            scores = [epoch.scores[name] for name in names]
            stage = f"{index:02d}-{record.kind}"
            writer.writerow([stage, epoch.epoch, epoch.lr, epoch.loss, epoch.seconds, *scores])
    files.write_bytes(out / "epochs.csv", text.getvalue().encode())
