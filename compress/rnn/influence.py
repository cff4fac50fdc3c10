"""Influence of every weight of recurrent matrices on the loss, a moving average over batches.

    f = |∂L/∂M| for a mask M of ones on the weights, = |W · ∂L/∂W|        of one batch
    e ← .98 · e + .02 · f, started at zero

as compress/criteria/influence.py has it for filters: what the average lacks by its start at zero
is the same for all weights. The mask is on the matrix multiplied out, so it does not matter how it
is stored.
"""

from itertools import islice

import torch
from torch import Tensor, nn

from compress.gate import DECAY
from compress.resting import resting
from compress.rnn.adopt import projections
from compress.statistics import BATCHES
from compress.task import Task


def influence(net: nn.Module, task: Task, seed: int) -> dict[str, Tensor]:
    """e [groups, rows, inputs] of every projection, by name; the network is left as it was.

    Measured in evaluation mode on the task's first training batches.
    """
    sides = projections(net)
    masks = {
        name: torch.ones(side.groups, side.rows, side.inputs, requires_grad=True)
        for name, side in sides.items()
    }
    found = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    for name, side in sides.items():
        side.gate = lambda mask=masks[name]: mask
    try:
        with resting(net):
            for batch in islice(task.batches(0, seed), BATCHES):
                loss = task.loss(net, batch, None)
                gradients = torch.autograd.grad(loss, [*masks.values()], allow_unused=True)
                for name, gradient in zip(masks, gradients, strict=True):
                    found[name] *= DECAY
                    if gradient is not None:
                        found[name] += (1 - DECAY) * gradient.abs()
    finally:
        for side in sides.values():
            side.gate = None
    return found
