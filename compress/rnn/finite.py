"""Weights that are numbers: what a diverged training left is refused before it is compressed."""

from torch import nn

from device.errors import FieldwrenError
from models.projections import Map, Projection, Table
from models.recurrent import Recurrent

LAYERS = (Recurrent, Map, Table, Projection)  # told by their own name, not by those of their parts


def finite(net: nn.Module) -> nn.Module:
    """The network, whose every parameter is finite.

    Raises:
        FieldwrenError: one is NaN or infinite.
    """
    for name, module in net.named_modules():
        own = module.named_parameters(recurse=isinstance(module, LAYERS))
        broken = [value for value, values in own if not values.isfinite().all()]
        if broken:
            raise FieldwrenError(
                f"{name or broken[0]}: weights are NaN or infinite: the training before this step "
                "diverged: take a lower lr or clip its gradients"
            )
    return net
