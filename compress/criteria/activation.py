"""Mean absolute value of feature maps.

[S] Source 000/003 ranks channels of a feature map by the sum of absolute values; A. Polyak,
L. Wolf, "Channel-Level Acceleration of Deep Face Representations", IEEE Access 2015, by their
variance; both keep the channels with most signal.

    a_c = mean over examples and positions of |x_c|
    s_c = mean over the layers that read channel c of  a_c / mean_c' a_c'

x  the feature map as the next layer reads it: behind norm, activation and pooling
[C] Taken at the readers, since nothing else says which activation follows; for a flattened map
all positions of a channel count. Dividing by the layer's mean as for the L1 norm.
"""

from torch import Tensor, nn

from compress.criteria.base import Group, Statistics
from compress.criteria.filters import maps
from compress.criteria.members import consumers, mean_share, of
from compress.statistics import Calibration
from device.errors import FieldwrenError


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels.

    Raises:
        FieldwrenError: no layer reads the channels.
    """
    found = statistics.found(gather)
    readers = consumers(group)
    if not readers:
        name = str(group[0].dep.target.name).split(" ")[0]
        raise FieldwrenError(f"{name}: no layer reads its channels: they are the answer")
    return mean_share(group, readers, lambda member: of(found, member))


def gather(calibration: Calibration, seed: int) -> dict[nn.Module, Tensor]:
    """Mean over examples of mean |x| over positions [in], of every layer."""

    def measure(layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return maps(layer, x).abs().mean(2).double().sum(0)

    return calibration.forward(measure)
