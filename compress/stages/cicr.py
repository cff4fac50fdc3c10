"""Find one contribution rate for all layers by bisection: prune, fine-tune, evaluate (CICR).

STAGE/probe-CR-ATTEMPT/  key  checkpoint.pt (while training)  state.pt  record.json

Every probe is kept in the form of a stage (compress/store.py), so that a search which was
interrupted goes on in the middle of the probe it had reached, and a candidate can be taken up
again by hand: `prune.remove(net, example, record.plan)`, then `state.pt`.
"""

import copy
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from compress import cicr, count, prune, store, train
from compress.enas.grades import Graded
from compress.importance import distribution
from compress.stages import prune as removal
from compress.stages.base import Context, Outcome, cut
from compress.stages.tuning import tune
from compress.statistics import Calibration
from compress.steps import Cicr
from compress.task import Quality, Task, every_score
from compress.workers import HERE, Shared
from device.errors import BadInputError, FieldwrenError

SEED_STRIDE = 7919  # a doubted probe is fine-tuned from another seed
SPECULATIVE = 3  # probes at once: one is needed, and one of two that follow; of 7, only 3 would be

rebuild = cut


def run(context: Context, net: nn.Module, step: Cicr) -> Outcome:
    """Search on the validation split; the most compressed acceptable candidate becomes `net`.

    Where no candidate is acceptable, `net` stays as it is and the plan removes nothing.

    Raises:
        BadInputError: `limits` names a score that the task does not have.
        FieldwrenError: nothing to prune, scores that are no contributions, or a candidate whose
            masked and pruned forms differ.
    """
    probes = Probes(context, net, step)
    quality = judged(context.task, net, step)
    original, least = quality.value, floors(quality, step.limits)
    found = probes.search(original - step.acc_loss, least)
    for probe in found.probes:
        further = (
            f"{name} {value:.3f} of {quality.scores[name]:.3f}, "
            for name, value in probe.further.items()
        )
        print(
            f"cicr: cr {probe.cr:.4f} score {probe.score:.2f} of {original:.2f}, "
            f"{''.join(further)}{probe.macs / 1e6:.1f} M MACs: "
            f"{'accepted' if probe.accepted else 'refused'}"
        )
    if found.cr is None:
        untouched = (
            prune.Cut(
                layer=group.layer, channels=len(group.scores), removed=(), members=group.members
            )
            for group in probes.shares
        )
        return Outcome(
            plan=prune.Plan(cuts=tuple(untouched)),
            probes=found.probes,
            figures=(distribution(probes.shares),),
        )
    record = probes.restore(found.cr, found.attempt)
    return Outcome(
        log=record.log,
        plan=record.plan,
        mask_error=record.mask_error,
        probes=found.probes,
        figures=(distribution(probes.shares),),
    )


def judged(task: Task, net: nn.Module, step: Cicr) -> Quality:
    """What decides on a candidate; costly scores only where one has a limit."""
    return every_score(task, net, "validation") if step.limits else task.evaluate(net, "validation")


def floors(original: Quality, limits: Mapping[str, float]) -> dict[str, float]:
    """The least that every limited score may be.

    Raises:
        BadInputError: there is no such score.
    """
    check_names(limits, original.scores)
    return {name: original.scores[name] - limit for name, limit in limits.items()}


def check_names(limits: Iterable[str], scores: Iterable[str]) -> None:
    """That there are scores of these names.

    Raises:
        BadInputError: there is no such score.
    """
    known = sorted(scores)
    for name in limits:
        if name not in known:
            raise BadInputError(f"limits.{name}: there are {', '.join(known)}")


@dataclass(frozen=True)
class Setting:
    """What all probes of a search start from."""

    context: Context
    net: nn.Module
    step: Cicr


@dataclass(frozen=True)
class Job:
    """One probe to be made."""

    place: store.Place
    plan: prune.Plan
    attempt: int


class Probes:
    """Candidates of one search, each made once."""

    def __init__(self, context: Context, net: nn.Module, step: Cicr) -> None:
        self.context, self.net, self.step = context, net, step
        self.shares = cicr.contributions(
            prune.score_groups(
                net,
                context.example,
                removal.whole(context, net, step.keep),
                step.criterion,
                context.seed,
                Calibration.of(context.task, net, context.seed),
            )
        )
        if not self.shares:
            raise FieldwrenError("nothing to prune: no layer's channels are free to go")
        self.least: Mapping[str, float] = {}  # of the scores that have a limit
        self.places: dict[tuple[prune.Plan, int], store.Place] = {}

    def search(self, threshold: float, least: Mapping[str, float] | None = None) -> cicr.Found:
        """Bisect, by the score and by the `least` that scores with a limit may be.

        With workers to spare, the next probes are made before it is known which one will be asked
        for. What is found does not depend on that.
        """
        self.least = least or {}
        margin = self._margin(threshold)
        workers = self.context.workers
        alone = replace(self.context, workers=HERE)
        make = partial(made, workers.share(Setting(alone, self.net, self.step)))
        width = min(workers.count, SPECULATIVE)
        known: dict[cicr.Asked, cicr.Candidate] = {}
        while asked := cicr.ahead(known, threshold, self.step.interval, margin, width):
            jobs = {job.place.folder: job for job in map(self._job, asked)}
            missing = [job for job in jobs.values() if job.place.finished() is None]
            for _ in workers.map(make, missing):
                pass
            known.update({each: self._candidate(*each) for each in asked})
        told: set[Path] = set()

        def tell(cr: float, attempt: int) -> cicr.Candidate:
            folder = self._job((cr, attempt)).place.folder
            candidate = known[cr, attempt]
            again = folder in told
            told.add(folder)
            return replace(candidate, seconds=0.0) if again else candidate

        return cicr.search(tell, threshold, self.step.interval, margin)

    def probe(self, cr: float) -> cicr.Candidate:
        """What one rate gives, made here unless it is there: for grids beside the bisection."""
        job = self._job((cr, 0))
        if job.place.finished() is None:
            made(HERE.share(Setting(self.context, self.net, self.step)), job)
        return self._candidate(cr, 0)

    def restore(self, cr: float, attempt: int) -> store.Record:
        """Turn the network itself into a finished candidate."""
        job = self._job((cr, attempt))
        record = job.place.finished()
        assert record is not None
        prune.remove(self.net, self.context.example, job.plan)
        job.place.restore(self.net)
        return record

    def _margin(self, threshold: float) -> float:
        """How close to the threshold a decision is doubted."""
        task, step = self.context.task, self.step
        if not step.recheck:
            return 0.0
        if step.margin is not None:
            return step.margin
        if task.kind == "classify" and isinstance(task, Graded):
            return cicr.standard_error(threshold, task.minibatches(1))
        return step.acc_loss

    def _job(self, asked: cicr.Asked) -> Job:
        """Rates that round to one plan share one training, in the place of the first."""
        cr, attempt = asked
        plan = cicr.plan(self.shares, cr, self.step.round_to)
        # the folder is the stage's and has its key: what matters beside that is in this one
        key = store.key("probe", plan.model_dump(), attempt)
        place = store.Place(self.context.checkpoint.parent / f"probe-{cr:.6f}-{attempt}", key)
        return Job(self.places.setdefault((plan, attempt), place), plan, attempt)

    def _candidate(self, cr: float, attempt: int) -> cicr.Candidate:
        record = self._job((cr, attempt)).place.finished()
        assert record is not None
        limits = {name: self.step.limits[name] for name in self.least}
        return cicr.Candidate(
            further={name: record.validation[name] for name in limits if name in record.validation},
            slack=cicr.slack(record.validation, self.least, limits),
            score=record.validation[record.primary],
            macs=record.macs,
            parameters=record.parameters,
            seconds=record.seconds,
        )


def made(setting: Shared[Setting], job: Job) -> None:
    """Prune to the plan, fine-tune, evaluate, store."""
    context, step, place = setting.get().context, setting.get().step, job.place
    place.begin()
    started, before = time.perf_counter(), train.spent(place.checkpoint)
    candidate = copy.deepcopy(setting.get().net)
    error = removal.checked(context, candidate, job.plan)
    log = tune(
        context,
        candidate,
        step.finetune,
        place.folder.name,
        seed=context.seed + job.attempt * SEED_STRIDE,
        checkpoint=place.checkpoint,
    )
    quality = judged(context.task, candidate, step)
    record = store.Record(
        key=place.key,
        kind="probe",
        seconds=before + time.perf_counter() - started,
        log=tuple(log),
        plan=job.plan,
        mask_error=error,
        macs=count.macs(candidate, context.example),
        parameters=count.parameters(candidate),
        primary=quality.primary,
        validation=dict(quality.scores),
    )
    place.finish(record, candidate.state_dict())
