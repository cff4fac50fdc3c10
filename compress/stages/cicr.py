"""Find one contribution rate for all layers by bisection: prune, fine-tune, evaluate (CICR).

STAGE/probe-CR-ATTEMPT/  key  checkpoint.pt (while training)  state.pt  record.json

Every probe is kept in the form of a stage (compress/store.py), so that a search which was
interrupted goes on in the middle of the probe it had reached, and a candidate can be taken up
again by hand: `prune.remove(net, example, record.plan)`, then `state.pt`.
"""

import copy
import time

from torch import nn

from compress import cicr, count, prune, store
from compress.stages import prune as removal
from compress.stages.base import Context, Outcome, cut
from compress.statistics import Calibration
from compress.steps import Cicr
from compress.train import fit
from device.errors import FieldwrenError

SEED_STRIDE = 7919  # a doubted probe is fine-tuned from another seed

rebuild = cut


def run(context: Context, net: nn.Module, step: Cicr) -> Outcome:
    """Search on the validation split; the most compressed acceptable candidate becomes `net`.

    Where no candidate is acceptable, `net` stays as it is and the plan removes nothing.

    Raises:
        FieldwrenError: nothing to prune, scores that are no contributions, or a candidate whose
            masked and pruned forms differ.
    """
    shares = cicr.contributions(
        prune.score_groups(
            net,
            context.example,
            removal.whole(context, net, step.keep),
            step.criterion,
            context.seed,
            Calibration.of(context.task, net, context.seed),
        )
    )
    if not shares:
        raise FieldwrenError("nothing to prune: no layer's channels are free to go")
    probes = Probes(context, net, step, shares)
    original = context.task.evaluate(net, "validation").value
    found = cicr.search(
        probes.probe,
        original - step.acc_loss,
        step.interval,
        step.acc_loss if step.recheck else 0.0,
    )
    for probe in found.probes:
        print(
            f"cicr: cr {probe.cr:.4f} score {probe.score:.2f} of {original:.2f}, "
            f"{probe.macs / 1e6:.1f} M MACs: {'accepted' if probe.accepted else 'refused'}"
        )
    if found.cr is None:
        untouched = (
            prune.Cut(
                layer=group.layer, channels=len(group.scores), removed=(), members=group.members
            )
            for group in shares
        )
        return Outcome(plan=prune.Plan(cuts=tuple(untouched)), probes=found.probes)
    record = probes.restore(found.cr, found.attempt)
    return Outcome(
        log=record.log, plan=record.plan, mask_error=record.mask_error, probes=found.probes
    )


class Probes:
    """Candidates of one search, each made once."""

    def __init__(
        self, context: Context, net: nn.Module, step: Cicr, shares: tuple[prune.Scored, ...]
    ) -> None:
        self.context, self.net, self.step, self.shares = context, net, step, shares
        self.places: dict[tuple[prune.Plan, int], store.Place] = {}

    def probe(self, cr: float, attempt: int) -> cicr.Candidate:
        """Prune to `cr`, fine-tune, evaluate. Rates that round to one plan share one training."""
        plan = cicr.plan(self.shares, cr, self.step.round_to)
        known = (plan, attempt) in self.places
        place = self.places.setdefault((plan, attempt), self._place(cr, attempt, plan))
        record = place.finished() or self._made(place, plan, attempt)
        return cicr.Candidate(
            score=record.validation[record.primary],
            macs=record.macs,
            parameters=record.parameters,
            seconds=0.0 if known else record.seconds,
        )

    def restore(self, cr: float, attempt: int) -> store.Record:
        """Turn the network itself into a finished candidate."""
        plan = cicr.plan(self.shares, cr, self.step.round_to)
        place = self.places[plan, attempt]
        record = place.finished()
        assert record is not None
        prune.remove(self.net, self.context.example, plan)
        self.net.load_state_dict(place.state())
        return record

    def _place(self, cr: float, attempt: int, plan: prune.Plan) -> store.Place:
        # the folder is the stage's and has its key: what matters beside that is in this one
        key = store.key("probe", plan.model_dump(), attempt)
        return store.Place(self.context.checkpoint.parent / f"probe-{cr:.6f}-{attempt}", key)

    def _made(self, place: store.Place, plan: prune.Plan, attempt: int) -> store.Record:
        context = self.context
        place.begin()
        started = time.perf_counter()
        candidate = copy.deepcopy(self.net)
        error = removal.checked(context, candidate, plan)
        log = fit(
            context.task,
            candidate,
            self.step.finetune,
            seed=context.seed + attempt * SEED_STRIDE,
            checkpoint=place.checkpoint,
            label=place.folder.name,
            teacher=context.teacher if self.step.finetune.distil else None,
        )
        quality = context.task.evaluate(candidate, "validation")
        record = store.Record(
            key=place.key,
            kind="probe",
            seconds=time.perf_counter() - started,
            log=tuple(log),
            plan=plan,
            mask_error=error,
            macs=count.macs(candidate, context.example),
            parameters=count.parameters(candidate),
            primary=quality.primary,
            validation=dict(quality.scores),
        )
        place.finish(record, candidate.state_dict())
        return record
