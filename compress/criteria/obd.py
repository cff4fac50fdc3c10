"""Optimal brain damage: second-order change of the loss, diagonal Hessian by Fisher information.

Y. LeCun, J. Denker, S. Solla, "Optimal Brain Damage", NeurIPS 1989, equation 5, summed over a
filter; the Hessian's diagonal as in L. Theis et al., "Faster gaze prediction with dense networks
and Fisher pruning", 2018.

    h_w = mean over examples of (∂L/∂w)²
    I_c = Σ_{w in filter c} ½ · h_w · w²
    s_c = mean over the layers that produce channel c of  I_c / mean_c' I_c'

L  training loss of one example: at a minimum, h_w is the Hessian's diagonal as far as the model
   fits the data
[C] Labels are the true ones (empirical Fisher), EXAMPLES of them, since each needs a backward
pass of its own. Dividing by the layer's mean, and the mean over tied layers, as for the L1 norm.
"""

import torch
from torch import Tensor, nn

from compress.criteria.base import Group, Statistics
from compress.criteria.filters import kernel, rows
from compress.criteria.members import mean_share, of, producers
from compress.statistics import Calibration

EXAMPLES = 128


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels."""
    found = statistics.found(gather)
    return mean_share(group, producers(group), lambda member: of(found, member))


def gather(calibration: Calibration, seed: int) -> dict[nn.Module, Tensor]:
    """I [out] of every layer."""
    found: dict[nn.Module, Tensor] = {}
    examples = 0
    for gradients in calibration.gradients(EXAMPLES):
        examples += 1
        for layer, gradient in gradients.items():
            damage = (
                rows(layer, (kernel(layer) * gradient).square()).sum(1, dtype=torch.float64).cpu()
                / 2
            )
            found[layer] = found[layer] + damage if layer in found else damage
    return {layer: damage / examples for layer, damage in found.items()}
