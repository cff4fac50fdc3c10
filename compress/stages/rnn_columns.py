"""Remove columns of LSTM and GRU matrices by a score, each gate its own."""

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from compress.rnn import columns, proof, structure, units, wires
from compress.rnn.adopt import adopt
from compress.rnn.finite import finite
from compress.rnn.forms import columns_read
from compress.stages.base import Context, Outcome
from compress.steps.rnn_columns import RnnColumns
from compress.store import Record
from device.errors import FieldwrenError
from models.projections import Projection


def run(context: Context, net: nn.Module, step: RnnColumns) -> Outcome:
    """Score, mask, prove, store.

    Raises:
        FieldwrenError: no recurrent layer, its matrices are factorised, weights are not finite, or
            the masked and the gathered network differ.
    """
    finite(adopt(net))
    sides = columns.sides(net, step.keep)
    scores = columns.SCORES[step.criterion](net, context.task, context.seed, sides)
    chosen = {}
    for name, side in sides.items():
        read = columns.lowest(scores[name], step.ratio, columns_read(side))
        columns.mask(side, read)
        chosen[name] = (side, read)
    error = gathered(context, net, chosen)
    return Outcome(mask_error=error, structure=structure.describe(net))


def rebuild(net: nn.Module, example: Tensor, record: Record) -> None:
    """Shapes as recorded."""
    structure.rebuild(net, record.structure)


def gathered(
    context: Context, net: nn.Module, read: Mapping[str, tuple[Projection, list[Tensor]]]
) -> float:
    """Store the columns that are read, take out units that nobody reads; |masked − removed|.

    Raises:
        FieldwrenError: the two differ.
    """
    masked = copy.deepcopy(net)
    for side, own in read.values():
        columns.keep_columns(side, own)
    found = wires.readers(net, context.example)
    # a unit without a reader may have been the only reader of another one
    while gone := unread(net, found, context.example):
        units.remove(net, found, gone)
    return proof.agreement(masked, net, context.example)


def unread(net: nn.Module, found: dict[str, list[str]], example: Tensor) -> dict[str, Tensor]:
    """Units that the network computes the same without, by layer.

    What adds two layers' outputs, or joins them, is no reader that is found: dead units of a layer
    that it reads make a difference, or leave shapes that do not fit, and stay.
    """
    gone = {}
    for name, own in wires.dead(net, found).items():
        try:
            proof.agreement(net, units.remove(copy.deepcopy(net), found, {name: own}), example)
        except (FieldwrenError, RuntimeError, IndexError):
            continue
        gone[name] = own
    return gone
