"""Remove channels, after proof that removal computes what masking computes."""

import copy
from collections.abc import Iterable

from torch import nn

from compress import allocation, names, prune
from compress.repair import repair
from compress.stages.base import Context, Outcome, cut
from compress.statistics import Calibration
from compress.steps import Prune

rebuild = cut


def run(context: Context, net: nn.Module, step: Prune) -> Outcome:
    """Plan, check, cut; on request, fit the layers that are left to the original's answers.

    Raises:
        FieldwrenError: the masked and the pruned network differ, or the target is out of reach.
    """
    task, example = context.task, context.example
    images = Calibration.of(task, net, context.seed)
    noise = Calibration.of(task, net, context.seed, noise=True)
    found = allocation.decide(
        net,
        example,
        task.head(net),
        step,
        context.seed,
        images,
        task.deploy,
        noise if step.calibration == "noise" else None,
    )
    original = copy.deepcopy(net)
    error = checked(context, net, found.plan)
    if step.repair:
        repair(net, original, example, found.plan, images.loss, list(images.batches()))
    return Outcome(
        plan=found.plan,
        mask_error=error,
        structure=found.spent.model_dump(),
        figures=found.figures,
    )


def whole(context: Context, net: nn.Module, patterns: Iterable[str]) -> list[nn.Module]:
    """What keeps all its channels: layers of the answer, and layers or blocks a recipe names.

    Raises:
        BadInputError: a pattern names no layer.
    """
    modules = dict(net.named_modules())
    kept = names.matching(patterns, modules)
    return [*context.task.head(net), *(m for name, m in modules.items() if name in kept)]


def checked(context: Context, net: nn.Module, plan: prune.Plan) -> float:
    """Cut the plan's channels out of `net`; returns the largest |masked − removed|.

    Raises:
        FieldwrenError: the masked and the pruned network differ; `net` is then untouched.
    """
    error = prune.proven(net, context.example, plan)
    prune.remove(net, context.example, plan)
    return error
