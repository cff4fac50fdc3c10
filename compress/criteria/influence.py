"""Influence of filters on the loss, accumulated over batches.

[S] Source 002 (Inf-CP): the influence of a weight is −∂L/∂M for a mask M of ones on the weights.
[F] That is −W·∂L/∂W, a first-order Taylor term, so no mask and no extra pass is needed; one
batch's signed influence is too noisy to choose by.

    f_c = Σ_{w in filter c} |w · ∂L/∂w|                      of one batch
    e_c ← .98 · e_c + .02 · f_c                              batch after batch
    s_c = Σ over the layers that produce channel c of  e_c / mean_c' e_c'

L  training loss of a minibatch
[C] Absolute values, the factor .98 and dividing by the layer's mean. Started at zero: the mean
takes out what the average lacks at first. The source's heads and gates learn from these features;
as a criterion they rank. Tied layers add: a channel has influence wherever it is written.
"""

import torch
from torch import Tensor, nn

from compress.criteria.base import Group, Statistics
from compress.criteria.filters import kernel, rows
from compress.criteria.members import TINY, of, producers, spread
from compress.statistics import Calibration

MEMORY = 0.98


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels."""
    found = statistics.found(gather)
    return torch.stack(
        [spread(group, member, of(found, member)) for member in producers(group)]
    ).sum(0)


def gather(calibration: Calibration, seed: int) -> dict[nn.Module, Tensor]:
    """e / mean e [out] of every layer."""
    found: dict[nn.Module, Tensor] = {}
    for gradients in calibration.gradients():
        for layer, gradient in gradients.items():
            f = rows(layer, (kernel(layer) * gradient).abs()).sum(1, dtype=torch.float64).cpu()
            before = found.get(layer, torch.zeros_like(f))
            found[layer] = MEMORY * before + (1 - MEMORY) * f
    return {layer: e / e.mean().clamp_min(TINY) for layer, e in found.items()}
