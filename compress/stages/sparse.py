"""Zero weights, rows, windows or groups of kernels, for good: smaller downloads, not faster.

Depthwise convolutions and the layers of the answer stay whole: they hold few weights and need all
of them. So do recurrent layers, which are named: columns and ranks of theirs can go (rnn-columns,
rnn-svd). Remove channels before this step, not after it, and factorise before, too: a product of
small convolutions made from a sparse kernel is not sparse.
"""

from torch import Tensor, nn

from compress import names
from compress.criteria.filters import kernel
from compress.figures import Figure, Series
from compress.granularity import GRAINS, masks, scores
from compress.stages.base import Context, Outcome
from compress.statistics import FILTERS, Calibration
from compress.steps import Sparse
from compress.store import Record
from device.errors import FieldwrenError


def run(context: Context, net: nn.Module, step: Sparse) -> Outcome:
    """Zero the grains with the lowest scores.

    Raises:
        FieldwrenError: there is no layer to do it in, or keep names none.
    """
    layers = _layers(context, net, step.keep)
    if not layers:
        raise FieldwrenError(
            "nothing to zero: every convolution and linear layer is kept whole, and matrices of "
            "recurrent layers always are"
        )
    modules = list(layers.values())
    if step.score == "magnitude":
        found = scores.magnitude(modules)
    else:
        found = scores.influence(modules, Calibration.of(context.task, net, context.seed))
    zeros = masks.zero(layers, found, GRAINS[step.grain], step.sparsity, step.scope)
    masks.hold(modules)
    weights = [kernel(layer) for layer in modules]
    total = sum(W.numel() for W in weights)
    gone = sum(int((W == 0).sum()) for W in weights)
    print(f"sparse: {gone:,} of {total:,} weights are zero, {gone / total:.1%}")
    whole = _recurrent(net)
    if whole:
        print(f"sparse: matrices of recurrent layers stay whole: {', '.join(whole)}")
    return Outcome(structure=list(layers), figures=(_figure(step, zeros, whole),))


def rebuild(net: nn.Module, example: Tensor, record: Record) -> None:
    """Zeros come with the weights; that they stay is arranged again."""
    assert isinstance(record.structure, list)
    masks.hold(net.get_submodule(str(name)) for name in record.structure)


def _layers(context: Context, net: nn.Module, keep: tuple[str, ...]) -> dict[str, nn.Module]:
    head, kept = context.task.head(net), names.matching(keep, names.layers(net))
    return {
        name: layer
        for name, layer in net.named_modules()
        if isinstance(layer, FILTERS)
        and getattr(layer, "groups", 1) == 1
        and all(layer is not one for one in head)
        and name not in kept
    }


def _recurrent(net: nn.Module) -> list[str]:
    """Layers whose matrices this step does not know."""
    found = [layer for layer, _ in names.weights(net).values()]
    return [
        layer for layer in dict.fromkeys(found) if not isinstance(net.get_submodule(layer), FILTERS)
    ]


def _figure(step: Sparse, zeros: dict[str, float], whole: list[str]) -> Figure:
    but = f" but {', '.join(whole)}" if whole else ""
    return Figure(
        title=f"sparse ({step.grain}): zeros in every layer{but}",
        x="layer, in order",
        y="share",
        series=(
            Series(
                name=f"{step.score}, {step.scope}",
                x=tuple(float(number) for number in range(1, len(zeros) + 1)),
                y=tuple(zeros.values()),
            ),
        ),
        kind="marks",
    )
