"""Put compact blocks in the place of convolutions, taught to say what these said.

Shuffle, fire, inverted residual and ghost (compress/compact). What a pattern names beside plain
two-dimensional convolutions stays as it is, and so does what would not get smaller in
multiply-accumulates and parameters both.
"""

from itertools import islice
from typing import cast

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from compress import capture, compact, count, names
from compress.compact import transfer
from compress.figures import Figure, Series
from compress.stages.base import Context, Outcome
from compress.steps import Compact
from compress.store import Record
from device.errors import BadInputError, FieldwrenError
from device.manifest import Frozen

EXAMPLES = 128  # that the blocks are taught on


class Replaced(Frozen):
    """One convolution and the block in its place."""

    layer: str
    block: str
    size: float
    macs: tuple[int, int]  # before, after
    untaught: float  # error on held-out inputs, over the variance of the answers
    taught: float


STRUCTURE = TypeAdapter(tuple[Replaced, ...])


def run(context: Context, net: nn.Module, step: Compact) -> Outcome:
    """Replace, one after the other; each block is taught on the untouched network's inputs.

    Raises:
        FieldwrenError: no layer was replaced, or as `named`.
    """
    size = compact.SIZES[step.block] if step.size is None else step.size
    made: dict[str, nn.Module] = {}
    found, reasons = [], []
    for index, name in enumerate(named(net, step.layers)):
        conv = cast(nn.Conv2d, net.get_submodule(name))
        x = _inputs(context, net, name)
        try:
            block = _built(step.block, conv, size, context.seed + index)
        except ValueError as error:
            reasons.append(f"{name}: {error}")
            continue
        macs = count.macs(conv, x[:1]), count.macs(block, x[:1])
        if macs[1] >= macs[0] or count.parameters(block) >= count.parameters(conv):
            reasons.append(f"{name}: a block of this size would not be smaller")
            continue
        lesson = transfer.teach(block, conv, x, step.steps, step.lr, context.seed)
        made[name] = block.train(conv.training)
        found.append(
            Replaced(
                layer=name,
                block=step.block,
                size=size,
                macs=macs,
                untaught=lesson.before,
                taught=lesson.after,
            )
        )
        print(
            f"compact: {name}: {step.block}, {macs[0] / 1e6:.2f} → {macs[1] / 1e6:.2f} M MACs, "
            f"error {lesson.before:.2f} → {lesson.after:.2f}"
        )
    if not found:
        raise FieldwrenError(f"no convolution was replaced by {step.block}: {reasons[0]}")
    for reason in reasons:
        print(f"compact: stays: {reason}")
    for name, block in made.items():
        names.replace(net, name, block)
    return Outcome(
        structure=STRUCTURE.dump_python(tuple(found), mode="json"), figures=(_figure(found),)
    )


def rebuild(net: nn.Module, example: Tensor, record: Record) -> None:
    """The blocks again, without what they learnt."""
    for one in STRUCTURE.validate_python(record.structure):
        conv = cast(nn.Conv2d, net.get_submodule(one.layer))
        names.replace(net, one.layer, _built(one.block, conv, one.size, 0))


def _built(name: str, conv: nn.Conv2d, size: float, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return compact.BLOCKS[name].build(conv, size).to(conv.weight.device)


def named(net: nn.Module, patterns: tuple[str, ...]) -> list[str]:
    """Names of the plain convolutions that the patterns mean.

    Raises:
        BadInputError: a pattern matches no two-dimensional convolution, or all match no plain one.
    """
    every = net.named_modules(remove_duplicate=False)
    convolutions = {name: layer for name, layer in every if isinstance(layer, nn.Conv2d)}
    wanted = names.matching(patterns, convolutions, "layers", "two-dimensional convolution")
    found: dict[nn.Module, str] = {}  # once, whichever of its names a pattern meets
    for name, layer in convolutions.items():
        if name in wanted and type(layer) is nn.Conv2d and layer.groups == 1:
            found.setdefault(layer, name)
    if not found:
        raise BadInputError(
            f"layers: {', '.join(sorted(wanted))}: no plain two-dimensional convolution, "
            "but grouped or of another class"
        )
    return list(found.values())


def _inputs(context: Context, net: nn.Module, name: str) -> Tensor:
    """What one layer reads for EXAMPLES training examples."""
    left = EXAMPLES

    def run() -> None:
        nonlocal left
        for batch in islice(context.task.batches(0, context.seed), EXAMPLES):
            context.task.loss(net, tuple(part[:left] for part in batch), None)
            left -= len(batch[0])
            if left <= 0:
                return

    return capture.inputs(net, [name], run)[name]


def _figure(found: list[Replaced]) -> Figure:
    index = tuple(float(number) for number in range(1, len(found) + 1))
    return Figure(
        title=f"compact ({found[0].block}): error on held-out inputs, over the answers' variance",
        x="convolution, in order",
        y="error",
        series=(
            Series(name="fresh", x=index, y=tuple(one.untaught for one in found)),
            Series(name="taught", x=index, y=tuple(one.taught for one in found)),
        ),
        kind="marks",
    )
