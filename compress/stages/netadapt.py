"""Shrink the group that costs least accuracy, again and again, until a budget is met (NetAdapt).

The state after every iteration is in the stage's checkpoint: an interrupted run goes on from there.
Candidates of an iteration do not depend on each other and go to the run's workers.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from pydantic import JsonValue
from torch import Tensor, nn

from compress import count, distributed, netadapt, prune, tensors, train
from compress.allocation import CLOSER, Spent, tell_met
from compress.costs import COSTS, Cost, Subject
from compress.figures import Figure, Series
from compress.importance import distribution
from compress.netadapt import Iteration
from compress.policies.base import rounded
from compress.repair import repair
from compress.stages import prune as removal
from compress.stages.base import Context, Outcome, cut
from compress.stages.tuning import tune
from compress.statistics import Calibration
from compress.steps import NetAdapt
from compress.workers import HERE, Shared
from device.errors import FieldwrenError

rebuild = cut


def run(context: Context, net: nn.Module, step: NetAdapt) -> Outcome:
    """The search; `net` becomes its last network.

    Raises:
        FieldwrenError: nothing to prune, the budget is out of reach within `max_ratio`, or masked
            and pruned networks differ.
    """
    search = Search(context, net, step)
    search.resume()
    while search.step_down():
        pass
    if not search.log:
        tell_met(search.key, search.whole, search.allowed)
    plan = netadapt.plan(search.groups, search.kept)
    error = prune.proven(net, context.example, plan)
    state = search.net.state_dict()
    prune.remove(net, context.example, plan)
    net.load_state_dict(state)
    structure: dict[str, JsonValue] = {
        "spent": search.spent().model_dump(),
        "iterations": [one.model_dump() for one in search.log],
    }
    figures = (search.figure(), distribution(search.groups))
    return Outcome(
        plan=plan, mask_error=error, structure=structure, figures=figures, before=search.before
    )


@dataclass(frozen=True)
class Setting:
    """What all candidates of a search start from."""

    context: Context
    step: NetAdapt


@dataclass(frozen=True)
class Candidate:
    """One cut of the network as it is, repaired, trained and scored."""

    cut: prune.Cut
    score: float  # primary, validation
    state: dict[str, Tensor]
    before: float  # seconds that interrupted runs spent on it


class Search:
    """The network as it has become, and what is left of the original one."""

    def __init__(self, context: Context, net: nn.Module, step: NetAdapt) -> None:
        self.context, self.table, self.net = context, step, copy.deepcopy(net)
        self.original = net
        self.setting = context.workers.share(Setting(replace(context, workers=HERE), step))
        self.groups = self._scored()
        if not self.groups:
            raise FieldwrenError("nothing to prune: no layer's channels are free to go")
        # what cannot be pruned is not trained first
        prune.proven(net, context.example, netadapt.one_of_each(self.groups))
        self._original = {group.layer: group for group in self.groups}
        self.kept = netadapt.everything(self.groups)
        self.log: list[Iteration] = []
        self.before = 0.0  # seconds that interrupted runs spent on what is taken up from them
        untouched = netadapt.plan(self.groups, self.kept)
        times = context.checkpoint.with_name("times.json")
        subject = Subject(self.original, context.example, untouched, context.task.deploy, times)
        self.key, value = step.target
        self.cost: Cost = COSTS[self.key](subject)
        self.whole = self.cost.predicted(untouched)
        share = {"ratio": 1 - value, "macs": value, "parameters": value}.get(self.key)
        self.allowed = value if share is None else share * self.whole
        self.met: float | None = None  # the measurement that ended the search
        self.aim = self.allowed  # less, once a measurement was more than its prediction

    def predicted(self) -> float:
        """Cost of the network as it is now."""
        return self.cost.predicted(netadapt.plan(self.groups, self.kept))

    def measured(self) -> float:
        """The same, of the real network."""
        return self.cost.measured(netadapt.plan(self.groups, self.kept), self.net)

    def step_down(self) -> bool:
        """One iteration; False when the budget is met."""
        spent = self.predicted()
        if spent <= self.aim:
            measured = self.measured()
            if measured <= self.allowed:
                self.met = measured
                return False
            self.aim = CLOSER * spent * self.allowed / measured
        started, before = time.perf_counter(), self.before
        target = max(self.aim, spent - self.table.gain * self.whole)
        candidates = self._candidates(target)
        if not candidates:
            raise FieldwrenError(
                f"{self.key}: no group can save {spent - target:,.5g} more, and "
                f"{spent:,.5g} is left where {self.allowed:,.5g} is asked for: raise max_ratio "
                f"or {self.key}, or lower gain"
            )
        tried = self.tried(candidates)
        self.before += sum(one.before for one in tried)
        best = max(tried, key=lambda one: one.score)
        made = best.cut
        prune.remove(self.net, self.context.example, prune.Plan(cuts=(made,)))
        self.net.load_state_dict(best.state)
        self.kept = netadapt.after(self.kept, made)
        self.log.append(
            Iteration(
                layer=made.layer,
                kept=made.kept,
                cost=self.predicted(),
                macs=count.macs(self.net, self.context.example),
                score=best.score,
                tried=len(tried),
                seconds=self.before - before + time.perf_counter() - started,
            )
        )
        print(
            f"netadapt: {made.layer} to {made.kept} channels, {self.key} {self.predicted():,.5g} "
            f"of {self.allowed:,.5g} allowed, score {best.score:.2f}"
        )
        self._save()
        return True

    def tried(self, cuts: Sequence[prune.Cut]) -> list[Candidate]:
        """A candidate for every cut, in their order."""
        workers = self.context.workers
        make = partial(made, self.setting, workers.share(self.net), len(self.log))
        return list(workers.map(make, cuts))

    def resume(self) -> None:
        """Go on after the last finished iteration, if there is one."""
        if self.context.checkpoint.exists():
            self._load()
        distributed.barrier()  # the first process may not write before all have read

    def _load(self) -> None:
        with tensors.stored(self.context.checkpoint) as state:
            self.kept = {layer: tuple(left) for layer, left in state["kept"].items()}
            self.log = [Iteration(**one) for one in state["log"]]
            self.before = sum(one.seconds for one in self.log)
            self.aim = state["aim"]
            prune.remove(self.net, self.context.example, netadapt.plan(self.groups, self.kept))
            self.net.load_state_dict(state["net"])
        print(f"netadapt: resuming after iteration {len(self.log)}")

    def spent(self) -> Spent:
        """What the result costs."""
        return Spent(
            key=self.key,
            whole=self.whole,
            allowed=self.allowed,
            predicted=self.predicted(),
            measured=self.measured() if self.met is None else self.met,
        )

    def figure(self) -> Figure:
        """Score over cost, iteration after iteration."""
        series = Series(
            name="best candidate",
            x=tuple(one.cost for one in self.log),
            y=tuple(one.score for one in self.log),
        )
        return Figure(
            title="NetAdapt: score of every iteration",
            x=self.key if self.key != "ratio" else "channels",
            y="validation score",
            series=(series,),
        )

    def _save(self) -> None:
        if not distributed.first():
            return
        state = {
            "net": self.net.state_dict(),
            "kept": {layer: list(left) for layer, left in self.kept.items()},
            "log": [one.model_dump() for one in self.log],
            "aim": self.aim,
        }
        tensors.save(self.context.checkpoint, state)

    def _scored(self) -> tuple[prune.Scored, ...]:
        """The groups of the network as it is now; roots stay what they are."""
        context = self.context
        return tuple(
            prune.score_groups(
                self.net,
                context.example,
                removal.whole(context, self.net, self.table.keep),
                self.table.criterion,
                context.seed,
                Calibration.of(context.task, self.net, context.seed),
            )
        )

    def _candidates(self, target: float) -> list[prune.Cut]:
        """Of every group that can, the cut that just reaches the target."""
        found, limits = [], (self.table.max_ratio, self.table.round_to)
        for group in self._scored():
            whole, now = len(self._original[group.layer].scores), len(group.scores)
            counts = {
                max(self._least(group), rounded(whole, count, *limits)) for count in range(now)
            }

            def cost(count: int, group: prune.Scored = group) -> float:
                kept = netadapt.after(self.kept, group.cut(count))
                return self.cost.predicted(netadapt.plan(self.groups, kept))

            count = netadapt.enough([c for c in counts if c < now], cost, target)
            if count is not None:
                found.append(group.cut(count))
        return found

    def _least(self, group: prune.Scored) -> int:
        """Fewest channels: with one filter a group a depthwise convolution would be a plain one,
        and any other in groups depthwise, and the groups of channels others than the original's."""
        layers = (self.original.get_submodule(name) for name in group.members)
        return 2 if any(getattr(layer, "groups", 1) > 1 for layer in layers) else 1


def made(
    setting: Shared[Setting], net: Shared[nn.Module], number: int, cut: prune.Cut
) -> Candidate:
    """A candidate of iteration `number`: cut, repaired and trained as the table says, scored."""
    context, step, whole = setting.get().context, setting.get().step, net.get()
    tried, before = copy.deepcopy(whole), 0.0
    plan = prune.Plan(cuts=(cut,))
    prune.remove(tried, context.example, plan)
    if step.repair:
        images = Calibration.of(context.task, whole, context.seed)
        batches = list(images.batches())
        repair(tried, whole, context.example, plan, images.loss, batches)
    if step.finetune is not None:
        # named by what it trains: a checkpoint of another candidate does not fit
        name = f"candidate-{number}-{cut.layer}-{len(cut.removed)}.pt"
        checkpoint = context.checkpoint.with_name(name)
        before = train.spent(checkpoint)
        tune(context, tried, step.finetune, cut.layer, checkpoint=checkpoint)
        if distributed.first():
            checkpoint.unlink(missing_ok=True)
        distributed.barrier()
    score = context.task.evaluate(tried, "validation").value
    return Candidate(cut, score, tried.state_dict(), before)
