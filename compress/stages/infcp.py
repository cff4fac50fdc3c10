"""Train gates that read the channels' influence, and remove what they shut (Inf-CP)."""

import contextlib

from pydantic import ValidationError
from torch import nn

from compress import allocation, distributed, infcp, prune
from compress.stages import prune as removal
from compress.stages.base import Context, Outcome, cut
from compress.stages.tuning import tune
from compress.steps import InfCp, Prune
from compress.steps.base import TARGETS
from device import files

rebuild = cut


def run(context: Context, net: nn.Module, step: InfCp) -> Outcome:
    """Train network and gates together, keep the budget's number of channels, cut the rest.

    Raises:
        FieldwrenError: the masked and the pruned network differ, a layer can take no gate up, the
            target is out of reach, or the loss is not finite.
    """
    budget = budgeted(context, net, step)
    prune.proven(net, context.example, budget)  # what cannot be pruned is not trained first
    gates = infcp.Gates(net, context.example, budget, step, step.epochs * context.task.steps())
    log = tune(context, net, step, "inf-cp", companion=gates)
    plan = gates.plan()
    figures = gates.figures()
    gates.fold()
    error = removal.checked(context, net, plan)
    return Outcome(log=tuple(log), plan=plan, mask_error=error, figures=figures)


def budgeted(context: Context, net: nn.Module, step: InfCp) -> prune.Plan:
    """How many channels stay: kept beside the checkpoint, for times are never measured alike."""
    path, known = context.checkpoint.with_name("budget.json"), None
    with contextlib.suppress(OSError, ValidationError):  # not decided yet, or damaged
        known = prune.Plan.model_validate_json(path.read_bytes())
    distributed.barrier()  # no process may write before all have read
    if known is not None:
        return known
    head = removal.whole(context, net, step.keep)
    found = allocation.decide(
        net, context.example, head, counts(step), context.seed, deploy=context.task.deploy
    )
    if distributed.first():
        files.write_bytes(path, found.plan.model_dump_json().encode())
    return found.plan


def counts(step: InfCp) -> Prune:
    """The step whose uniform plan has the channel counts wanted; its choice is not used."""
    return Prune(
        kind="prune",
        criterion="random",
        **{key: getattr(step, key) for key in TARGETS},
        max_ratio=step.max_ratio,
        round_to=step.round_to,
    )
