"""One stage further: what an earlier run finished is taken up, the rest is done and stored."""

import time
from collections.abc import Callable

from torch import Tensor, nn

from compress import count, store
from compress.distillation import sources
from compress.recipe import Recipe
from compress.stages import STAGES, Context
from compress.steps import Change, Quantize, Resize, Schedule, Search
from compress.task import Task
from compress.workers import HERE, Workers
from device.manifest import Frozen

Stage = Search | Schedule | Change | Resize  # what has a folder of its own


def stages(recipe: Recipe) -> tuple[Stage, ...]:
    """The steps up to the network that is deployed, in order."""
    first: tuple[Stage, ...] = () if recipe.search is None else (recipe.search,)
    changes = [step for step in recipe.steps if not isinstance(step, Quantize)]
    return (*first, recipe.baseline, *changes)


def kind(step: Stage) -> str:
    """Of a recipe's step; the baseline's table is a schedule and nothing else."""
    return str(getattr(step, "kind", "baseline"))


def key(step: Stage, parent: str) -> str:
    """Of the stage that a step is. Settings left at their defaults do not count, so that an option
    added later does not throw finished stages away; a default that changes raises store.FORMAT.
    Of teachers that are files their content counts, not only where they lie."""
    table = step.model_dump(exclude_defaults=True)
    return store.key(kind(step), table, parent, *sources.fingerprints(step))


def root(task: Task, name: str, settings: Frozen, seed: int) -> str:
    """The key before the first stage: of a task, its settings, its data and the seed."""
    tables = settings.model_dump(exclude_defaults=True)
    return store.key(name, tables, task.data().fingerprint, seed)


def advance(
    place: store.Place,
    task: Task,
    net: nn.Module,
    step: Stage,
    *,
    seed: int,
    example: Tensor,
    teacher: nn.Module | None,
    say: Callable[[str], None],
    workers: Workers = HERE,
) -> store.Record:
    """Bring `net`, in place, to where the step leaves it."""
    stage = STAGES[kind(step)]
    record = place.finished()
    if record is not None:
        stage.rebuild(net, example, record)
        place.restore(net)
        say(f"{record.kind}: reused from {place.folder}")
        return record
    place.begin()
    started = time.perf_counter()
    context = Context(task, seed, example, teacher, place.checkpoint, workers)
    outcome = stage.run(context, net, step)
    quality = task.evaluate(net, "validation")
    record = store.Record(
        key=place.key,
        kind=kind(step),
        seconds=outcome.before + time.perf_counter() - started,
        log=outcome.log,
        plan=outcome.plan,
        mask_error=outcome.mask_error,
        probes=outcome.probes,
        structure=outcome.structure,
        figures=outcome.figures,
        macs=count.macs(net, example),
        parameters=count.parameters(net),
        primary=quality.primary,
        validation=dict(quality.scores),
    )
    place.finish(record, net.state_dict())
    # a search decides a network and leaves it fresh: its score is that of no training
    score = f"{quality.primary} {quality.value:.2f} on validation"
    say(
        f"{record.kind}: {'not trained yet' if isinstance(step, Search) else score}, "
        f"{record.macs / 1e6:.1f} M MACs, {record.parameters:,} parameters"
    )
    return record
