"""Train a pruned network further, on request with the baseline or another model as its teacher."""

from torch import nn

from compress.stages.base import Context, Outcome, same
from compress.stages.tuning import tune
from compress.steps import Finetune

rebuild = same


def run(context: Context, net: nn.Module, step: Finetune) -> Outcome:
    """Train to the last epoch; with `distil`, the task mixes in the teacher's answers."""
    return Outcome(log=tuple(tune(context, net, step, "fine-tune", seed=step.seed)))
