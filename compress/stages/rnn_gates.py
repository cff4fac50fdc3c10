"""Learn which columns of LSTM and GRU matrices go, from influence, and store what is left."""

from torch import nn

from compress.rnn import columns, structure
from compress.rnn.adopt import adopt
from compress.rnn.finite import finite
from compress.rnn.gates import Strategies
from compress.stages.base import Context, Outcome
from compress.stages.rnn_columns import gathered, rebuild
from compress.stages.tuning import tune
from compress.steps.rnn_gates import RnnGates

__all__ = ["rebuild", "run"]


def run(context: Context, net: nn.Module, step: RnnGates) -> Outcome:
    """Train network and strategies together, keep the budget's columns, store them gathered.

    Raises:
        FieldwrenError: no recurrent layer, its matrices were changed before, the masked and the
            gathered network differ, or weights or the loss are not finite.
    """
    strategies = Strategies(finite(adopt(net)), step, step.epochs * context.task.steps())
    log = tune(context, net, step, "rnn-gates", companion=strategies)
    read = strategies.take()
    sides = columns.sides(net, step.keep)
    error = gathered(context, net, {name: (sides[name], own) for name, own in read.items()})
    return Outcome(log=tuple(log), mask_error=error, structure=structure.describe(net))
