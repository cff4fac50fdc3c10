"""Physical removal: a child without the channels that fake pruning sets to zero.

Convolutions lose rows and columns, batch norms entries. Every edge makes its channels in the
order of its node (models/enas/layout.py) and is padded with zeros; where channels of a pool, an
identity or a factorised reduction come in another order, a `Fit` picks them. What remains
computes what the masked child computes.
"""

from typing import cast

import torch
from torch import Tensor, nn

from models.depthwise import DepthwiseConv2d
from models.enas.architecture import INPUTS, SIDES
from models.enas.cell import INPUT, Cell, Fit, Place, Separable, name
from models.enas.layout import Channels, Kept, Layout, Shape, halves, layout
from models.enas.network import Enas
from models.enas.operations import FactorizedReduction, ReluConvNorm, Stack


def narrow(net: Enas, kept: Kept) -> None:
    """Remove, in place, what is not kept; `net` is an unpruned child."""
    assert net.architecture is not None
    outputs: list[Channels | None] = [None, None]  # of the two layers before; the stem is whole
    for cell in cast(list[Cell], list(net.cells)):
        plan = net.architecture.plans[cell.reduces]
        found = layout(
            cell.layer,
            plan,
            cell.base.conv.out_channels,
            kept,
            reduces=cell.reduces,
            halved=isinstance(cell.first, FactorizedReduction),
        )
        _inputs(cell, found, outputs, kept[Place(cell.layer, INPUT, SIDES[0], "out")])
        weights = dict(cell.edges.items())
        for node, side, edge in plan.edges:
            key, shape = name(node, side, edge), found.edges[node, side]
            module = weights.get(key)
            if isinstance(module, Separable):
                _stack(module.first, shape.reads, shape.middle)
                _stack(module.second, shape.middle, shape.out)
                _silence(module.second.norm, shape.out, shape.kept)
            elif isinstance(module, FactorizedReduction):
                _factorized(module, shape.reads, shape.order)
            if shape.picks or shape.before or shape.after:
                cell.fits[key] = _fit(shape, net.classifier.weight)
        outputs = [outputs[1], found.joined]
    last = outputs[1]
    assert last is not None
    classifier = net.classifier
    classifier.weight = nn.Parameter(classifier.weight.detach()[:, list(last)].clone())
    classifier.in_features = len(last)


def _inputs(cell: Cell, found: Layout, outputs: list[Channels | None], first: Channels) -> None:
    """Calibration, and the reductions of loose inputs."""
    left, right = found.states[:INPUTS]
    if isinstance(cell.first, FactorizedReduction):
        _factorized(cell.first, outputs[0], left)
        _silence(cell.first.norm, left, frozenset(first))
    else:
        _point(cell.first, outputs[0], left)
    _point(cell.second, outputs[1], found.middle)
    _point(cell.base, found.middle, right)
    for state, end in cell.ends.items():
        reads = found.states[int(state)]
        for conv in (cast(FactorizedReduction, end).even, cast(FactorizedReduction, end).odd):
            _conv(conv, reads, None)


def _fit(shape: Shape, like: Tensor) -> Fit:
    """What brings an edge's channels into its node."""
    picks = like.new_empty(0)
    if shape.picks:
        picks = like.new_zeros(len(shape.out), len(shape.order), 1, 1)
        for row, channel in enumerate(shape.out):
            if channel in shape.kept:
                picks[row, shape.order.index(channel)] = 1
    return Fit(picks, shape.before, shape.after)


def _stack(stack: Stack, inputs: Channels, outputs: Channels) -> None:
    old = stack.depthwise
    stack.depthwise = DepthwiseConv2d(
        len(inputs), old.kernel_size[0], old.stride[0], int(old.padding[0])
    )
    stack.depthwise.weight = nn.Parameter(old.weight.detach()[list(inputs)].clone())
    _conv(stack.pointwise, inputs, outputs)
    _norm(stack.norm, outputs)


def _point(layer: ReluConvNorm, inputs: Channels | None, outputs: Channels) -> None:
    _conv(layer.conv, inputs, outputs)
    _norm(layer.norm, outputs)


def _factorized(reduction: FactorizedReduction, inputs: Channels | None, outputs: Channels) -> None:
    """Narrow to channels that are in both halves, in order."""
    width = reduction.norm.num_features
    even, odd = halves(outputs, width)
    _conv(reduction.even, inputs, even)
    _conv(reduction.odd, inputs, tuple(channel - width // 2 for channel in odd))
    _norm(reduction.norm, outputs)


def _conv(conv: nn.Conv2d, inputs: Channels | None, outputs: Channels | None) -> None:
    weight = conv.weight.detach()
    if outputs is not None:
        weight = weight[list(outputs)]
    if inputs is not None:
        weight = weight[:, list(inputs)]
    conv.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format))
    conv.out_channels, conv.in_channels = weight.shape[:2]


def _silence(norm: nn.BatchNorm2d, outputs: Channels, kept: frozenset[int]) -> None:
    """Make channels zero that are only there because they cannot be left out."""
    silent = [index for index, channel in enumerate(outputs) if channel not in kept]
    with torch.no_grad():
        norm.weight[silent], norm.bias[silent] = 0, 0


def _norm(norm: nn.BatchNorm2d, outputs: Channels) -> None:
    chosen = list(outputs)
    norm.weight = nn.Parameter(norm.weight.detach()[chosen].clone())
    norm.bias = nn.Parameter(norm.bias.detach()[chosen].clone())
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean = norm.running_mean[chosen].clone()
    norm.running_var = norm.running_var[chosen].clone()
    norm.num_features = len(chosen)
