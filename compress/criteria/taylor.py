"""First-order Taylor expansion of the loss, weight form.

P. Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, equation 8,
for the weights of one filter as a group (equation 9 with a gate on the filter).

    I_c = mean over minibatches of (Σ_{w in filter c} w · ∂L/∂w)²
    s_c = mean over the layers that produce channel c of  I_c / mean_c' I_c'

L  training loss of a minibatch; the sum is ∂L/∂m for a factor m = 1 on the whole filter
The weight form, not the activation form of the 2017 paper: bias and norm are not part of it.
[C] Gradients in evaluation mode, without weight updates in between. Dividing by the layer's mean,
and the mean over tied layers, as for the L1 norm.
"""

import torch
from torch import Tensor, nn

from compress.criteria.base import Group, Statistics
from compress.criteria.filters import kernel, rows
from compress.criteria.members import mean_share, of, producers
from compress.statistics import Calibration


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels."""
    found = statistics.found(gather)
    return mean_share(group, producers(group), lambda member: of(found, member))


def gather(calibration: Calibration, seed: int) -> dict[nn.Module, Tensor]:
    """I [out] of every layer."""
    found: dict[nn.Module, Tensor] = {}
    batches = 0
    for gradients in calibration.gradients():
        batches += 1
        for layer, gradient in gradients.items():
            change = (
                rows(layer, kernel(layer) * gradient).sum(1, dtype=torch.float64).square().cpu()
            )
            found[layer] = found[layer] + change if layer in found else change
    return {layer: change / batches for layer, change in found.items()}
