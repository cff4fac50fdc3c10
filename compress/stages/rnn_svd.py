"""Store each LSTM or GRU matrix in its cheapest form: dense, gathered, low rank, packed."""

from functools import partial

from torch import nn

from compress import count
from compress.rnn import proof, structure
from compress.rnn.adopt import adopt
from compress.rnn.factorise import Factorisation
from compress.rnn.finite import finite
from compress.rnn.forms import by_count
from compress.rnn.timing import by_time
from compress.stages.base import Context, Outcome
from compress.stages.rnn_columns import rebuild
from compress.steps.rnn_svd import RnnSvd

__all__ = ["rebuild", "run"]


def run(context: Context, net: nn.Module, step: RnnSvd) -> Outcome:
    """Decompose, choose, store, prove.

    Raises:
        FieldwrenError: weights are not finite, the target is out of reach, or the network with its
            factors multiplied out computes something else.
    """
    assert context.teacher is not None
    work = Factorisation(finite(adopt(net)), step.keep)
    if step.parameters is not None:
        shapes = work.within(int(step.parameters * count.parameters(context.teacher)))
    else:
        timed = partial(by_time, vectors=step.vectors, scheme=step.scheme)
        cost = timed if step.cost == "time" else by_count
        if step.energy is not None:
            shapes = work.cheapest("energy", step.energy, cost)
        else:
            assert step.threshold is not None
            shapes = work.cheapest("threshold", step.threshold, cost)
    work.apply(shapes)
    error = proof.agreement(proof.multiplied_out(net), net, context.example)
    return Outcome(mask_error=error, structure=structure.describe(net))
