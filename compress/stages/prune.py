"""Remove channels, after proof that removal computes what masking computes."""

from fnmatch import fnmatchcase

from torch import nn

from compress import count, prune
from compress.recipe import Prune
from compress.stages.base import Context, Outcome
from device.errors import FieldwrenError

AGREEMENT = 1e-5  # largest |masked − removed| over the outputs


def run(context: Context, net: nn.Module, step: Prune) -> Outcome:
    """Plan, check, cut.

    Raises:
        FieldwrenError: the masked and the pruned network differ, or the target is out of reach.
    """
    kept = [
        module
        for name, module in net.named_modules()
        if any(fnmatchcase(name, pattern) for pattern in step.keep)
    ]
    plan = prune.make_plan(
        net,
        context.example,
        [*context.task.head(net), *kept],
        step,
        context.seed,
        lambda candidate: count.macs(candidate, context.example),
    )
    error = prune.difference(net, context.example, plan)
    if not error <= AGREEMENT:
        raise FieldwrenError(
            f"masked and pruned networks differ by {error:.2g}, allowed {AGREEMENT:.0e}: a layer "
            "between two convolutions does not keep a zero channel at zero"
        )
    prune.remove(net, context.example, plan)
    return Outcome(plan=plan, mask_error=error)
