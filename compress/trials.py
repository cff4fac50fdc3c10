"""Whether a plan may be carried out: masked and pruned networks compute the same.

So they do provided a zero channel stays zero until the next convolution or matrix, as with ReLU
and BN. Where they do not, each group is tried alone, and those at fault are named.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from compress import tracing
from compress.passes import Example, answers, exact, inputs
from compress.plans import Cut, Plan, mask, remove
from compress.refused import RefusedError, few, together
from compress.tracing import BROKEN, copied
from device.errors import FieldwrenError

AGREEMENT = 1e-5  # largest |masked − removed| over the outputs
DIFFERS = "would compute something else"


def difference(net: nn.Module, example: Example, plan: Plan) -> float:
    """Largest |masked − removed| over the outputs, computed in float64 on a real input.

    Raises:
        RefusedError: the answer itself has lost channels.
    """
    example = exact(example)
    removed = copied(net).double().eval()
    masked = mask(copied(removed), example, plan)
    remove(removed, example, plan)
    with torch.no_grad():
        one, other = (answers(net(*inputs(example))) for net in (masked, removed))
        if [a.shape for a in one] != [a.shape for a in other]:
            layers = few([cut.layer for cut in plan.cuts if cut.removed])
            raise RefusedError(layers, "the answer would lose some (name the layer in head)")
        errors = [(a - b).abs().max().double() for a, b in zip(one, other, strict=True)]
    return float(torch.stack(errors).max())  # Python's own max passes over what is not a number


def proven(net: nn.Module, example: Example, plan: Plan) -> float:
    """Largest |masked − removed|, where that is as good as nothing.

    Raises:
        FieldwrenError: it is not, or the network does not run; the groups at fault are named.
    """
    try:
        error = difference(net, example, plan)
    except (RefusedError, *BROKEN) as broken:
        if wrong := refusals(net, example, plan.cuts):
            raise together(wrong) from broken
        raise FieldwrenError(
            "the network does not run without all of the plan's channels, though without those of "
            f"each group alone: {tracing.said(broken)}"
        ) from broken
    if error <= AGREEMENT:
        return error
    wrong = refusals(net, example, plan.cuts)
    if any(not refusal.reason.endswith(DIFFERS) for refusal in wrong):
        raise together(wrong)
    names = ", ".join(f'"{refusal.layer}"' for refusal in wrong)
    raise FieldwrenError(
        f"masked and pruned networks differ by {error:.2g}, allowed {AGREEMENT:.0e}: "
        + (
            f"a zero channel of {names} is no zero in the next convolution; keep = [{names}] "
            "leaves them whole"
            if wrong
            else "a zero channel is no zero in the next convolution where several groups meet"
        )
    )


def refusals(net: nn.Module, example: Example, cuts: Iterable[Cut]) -> list[RefusedError]:
    """Which of some cuts cannot be made, each tried alone."""
    return [found for cut in cuts if cut.removed and (found := trial(net, example, cut))]


def trial(
    net: nn.Module, example: Example, cut: Cut, suspects: Sequence[str] = ()
) -> RefusedError | None:
    """Why the network is not the masked one without a cut's channels; `suspects` are blamed."""
    names, plan = few(suspects), Plan(cuts=(cut,))
    try:
        if difference(net, example, plan) <= AGREEMENT:
            return None
        reason = f"{names or 'what follows'} {DIFFERS}"
    except RefusedError as refusal:
        return refusal
    except BROKEN as broken:
        reason = f"{names} would no longer fit"
        if not names:
            reason = f"the network would no longer run ({tracing.said(broken)})"
        if idle := _stopped_idle(net, example, plan):
            reason = (
                f"{idle} runs, but nothing of the answer comes from it, or only without gradients:"
                " return it too, do not call it, or let gradients through"
            )
    return RefusedError(cut.layer, reason)


def _stopped_idle(net: nn.Module, example: Example, plan: Plan) -> str:
    """The layer without part in the answer at which the network stops without some channels."""
    try:
        removed = remove(copied(net), example, plan)
    except BROKEN:
        return ""
    last = tracing.stop(removed, example)
    return last if last in tracing.idle(net, example) else ""
