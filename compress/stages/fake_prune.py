"""Search every group's pruning ratio by fake pruning and a controller, then remove."""

from itertools import islice

import torch
from torch import nn

from compress import netadapt, prune
from compress.costs import Subject
from compress.costs.line import halved
from compress.enas.grades import placed, searchable
from compress.enas.groups import Groups, Saving, Ties, watched
from compress.enas.ratios import RatioController, UniformRatios
from compress.enas.search import figures, search
from compress.recalibration import recalibrate
from compress.stages import prune as removal
from compress.stages.base import Context, Outcome, cut
from compress.steps.fake_prune import FakePrune
from compress.task import Task
from device.errors import FieldwrenError

rebuild = cut


def check(task: Task, net: nn.Module, searched: bool) -> None:
    """Before anything is trained.

    Raises:
        BadInputError: the task cannot be searched on.
    """
    searchable(task)


def run(context: Context, net: nn.Module, step: FakePrune) -> Outcome:
    """Search, choose channels on training batches, check, cut, recalibrate batch norm.

    Raises:
        BadInputError: the task cannot be searched on.
        FieldwrenError: nothing to prune, channels that save nothing, or the masked and the pruned
            network differ.
    """
    task = searchable(context.task)
    head = removal.whole(context, net, step.keep)
    ties = Ties.of(net, context.example, head, context.seed)
    if not ties.scored:
        raise FieldwrenError("nothing to prune: no layer's channels are free to go")
    # what cannot be pruned is not searched first
    prune.proven(net, context.example, netadapt.one_of_each(ties.scored))
    times = context.checkpoint.with_name("times.json")
    subject = Subject(net, context.example, prune.untouched(ties.scored), task.deploy, times)
    saving = Saving.of(step.ratio, subject)
    if saving.ratio(halved(subject)) <= 0:  # a price that is a line refuses by itself
        raise FieldwrenError(
            f'ratio = "{step.ratio}": half of every group\'s channels would save nothing, so no '
            "candidate would be paid for a ratio: take another unit"
        )
    kind = RatioController if step.sampler == "controller" else UniformRatios
    torch.manual_seed(context.seed)  # after what may export: that draws, too, the first time more
    sampler = kind(len(ties.scored))
    found = search(
        Groups(task, net, ties, saving, step, context.workers),
        sampler,
        step,
        epochs=step.epochs,
        seed=context.seed,
        checkpoint=context.checkpoint,
    )
    batches = list(islice(task.batches(0, context.seed), step.batches))
    net.eval()
    with torch.no_grad(), watched(net, ties) as sums:
        for batch in batches:
            task.loss(net, placed(batch, net), None)
    plan = ties.choose(sums, found.best, step.round_to)
    error = removal.checked(context, net, plan)
    recalibrate(net, lambda net, batch: task.loss(net, batch, None), batches)
    return Outcome(
        plan=plan,
        mask_error=error,
        structure={"ratios": list(found.best), "evaluations": found.evaluations},
        figures=figures(found.rows, step.samples, "fake pruning"),
        before=found.before,
    )
