"""How much a single weight matters: its size, or its influence on the loss.

    magnitude   |w|                                    S. Han et al., NIPS 2015
    influence   EMA over batches of |w · ∂L/∂w|        the criterion `influence`, weight by weight

Low goes first. Magnitudes of one layer are divided by the layer's root mean square, so that one
ranking over all layers does not empty the wide ones; influences are changes of the loss and
compare as they are.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from compress.criteria.filters import kernel
from compress.criteria.influence import MEMORY
from compress.criteria.members import TINY
from compress.statistics import Calibration
from device.errors import FieldwrenError

Scores = Mapping[nn.Module, Tensor]


def magnitude(layers: list[nn.Module]) -> Scores:
    """|w| / √mean w² of every layer, in the weight's shape."""
    found = {}
    for layer in layers:
        W = kernel(layer)
        found[layer] = W.abs() / W.square().mean().sqrt().clamp_min(TINY)
    return found


def influence(layers: list[nn.Module], calibration: Calibration) -> Scores:
    """EMA of |w · ∂L/∂w|, in the weight's shape.

    Raises:
        FieldwrenError: a layer has no gradient.
    """
    found: dict[nn.Module, Tensor] = {}
    for gradients in calibration.gradients():
        for layer in layers:
            if layer not in gradients:
                raise FieldwrenError("a layer has no weight that gradients are known of")
            f = (kernel(layer) * gradients[layer]).abs()
            found[layer] = MEMORY * found.get(layer, torch.zeros_like(f)) + (1 - MEMORY) * f
    return found
