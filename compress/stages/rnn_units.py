"""Remove units of LSTM and GRU layers for good, with everything that reads them."""

import copy
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from compress import count, names
from compress.rnn import proof, structure, timing, units, wires
from compress.rnn.adopt import adopt
from compress.rnn.finite import finite
from compress.stages.base import Context, Outcome
from compress.stages.rnn_columns import rebuild
from compress.steps.rnn_units import RnnUnits
from device.errors import FieldwrenError

__all__ = ["rebuild", "run"]
BISECTIONS = 16  # of the ratio
BROKEN = (FieldwrenError, RuntimeError, IndexError)  # another answer, or shapes that do not fit


def run(context: Context, net: nn.Module, step: RnnUnits) -> Outcome:
    """Score, choose, mask, prove, remove.

    Raises:
        FieldwrenError: no layer's units are free to go, weights are not finite, the target is out
            of reach, or something reads a unit that does not follow or is tied to another layer.
    """
    finite(adopt(net))
    scores = units.SCORES[step.criterion](net, context.task, context.seed)
    found = wires.readers(net, context.example)
    kept = names.matching(step.keep, found)
    free = {name: scores[name] for name, own in found.items() if own and name not in kept}
    if not free:
        raise FieldwrenError("nothing to prune: no matrix reads a recurrent layer's units alone")
    units.refuse_ties(net, found, free)
    removed = chosen(context, net, found, free, step)
    whole, masked = copy.deepcopy(net), units.mask(copy.deepcopy(net), found, removed)
    try:
        units.remove(net, found, removed)
        error = proof.agreement(masked, net, context.example)
    except BROKEN as broken:
        reason = str(broken).splitlines()[0]
        raise FieldwrenError(
            f"{', '.join(bound(whole, found, removed, context.example))}: units cannot go: "
            f"{reason}; name the layer in keep"
        ) from broken
    return Outcome(mask_error=error, structure=structure.describe(net))


def bound(
    net: nn.Module, found: dict[str, list[str]], removed: dict[str, Tensor], example: Tensor
) -> list[str]:
    """The layers that cannot lose their units even alone; all, if it is only together."""
    gone = {name: own for name, own in removed.items() if len(own)}
    names = []
    for name, own in gone.items():
        masked = units.mask(copy.deepcopy(net), found, {name: own})
        try:
            proof.agreement(masked, units.remove(copy.deepcopy(net), found, {name: own}), example)
        except BROKEN:
            names.append(name)
    return names or list(gone)


def chosen(
    context: Context,
    net: nn.Module,
    found: dict[str, list[str]],
    free: dict[str, Tensor],
    step: RnnUnits,
) -> dict[str, Tensor]:
    """The units that go, by layer; for a size or a time, those of the least ratio that meets it."""

    def at(ratio: float) -> dict[str, Tensor]:
        return {name: units.lowest(own, ratio, step.round_to) for name, own in free.items()}

    if step.ratio is not None:
        removed = at(step.ratio)
        if not any(map(len, removed.values())):
            raise FieldwrenError(
                f"nothing to prune: ratio = {step.ratio:g} is less than round_to = {step.round_to} "
                "units in every layer: take a smaller round_to"
            )
        return removed
    size: Callable[[nn.Module], float]
    if step.parameters is not None:
        assert context.teacher is not None
        size, target = count.parameters, step.parameters * count.parameters(context.teacher)
        wanted = f"the network to {step.parameters:.0%} of its parameters"
    else:
        assert step.milliseconds is not None
        sides = sorted(  # each once, in the same order in every process
            {f"{name}.{side}" for name in free for side in "xh"}
            | {reader for name in free for reader in found[name]}
        )
        size = partial(timing.milliseconds, names=sides, vectors=step.vectors, scheme=step.scheme)
        target, wanted = step.milliseconds, f"their matrices to {step.milliseconds:g} ms"
    low, high, best = 0.0, 1.0, None
    for _ in range(BISECTIONS):
        ratio = (low + high) / 2
        removed = at(ratio)
        if size(units.remove(copy.deepcopy(net), found, removed)) > target:
            low = ratio
        else:
            high, best = ratio, removed
    if best is None:
        raise FieldwrenError(
            f"removing units cannot bring {wanted}: units of {', '.join(free)} are all that is "
            "free to go"
        )
    return best
