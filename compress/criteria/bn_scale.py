"""Scale of batch norms (Network Slimming).

Z. Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017.

    s_c = mean over the norms of channel c of  |γ_c| / mean_c' |γ_c'|

γ_c  the norm's learned factor on channel c
The paper trains with an L1 penalty on γ beforehand (the step `slim`), and ranks all |γ| of a
network together.
[C] Dividing by the layer's mean, as for the L1 norm, so that tied layers weigh the same; group
norms count as well.
"""

from torch import Tensor

from compress.criteria.base import Group, Statistics
from compress.criteria.filters import kernel
from compress.criteria.members import Member, mean_share, norms
from compress.refused import RefusedError


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels.

    Raises:
        RefusedError: no norm with a factor follows.
    """
    scaled = [member for member in norms(group) if member.layer.weight is not None]
    if not scaled:
        name = str(group[0].dep.target.name).split(" ")[0]
        raise RefusedError(name, "bn_scale scores by the norm behind them, and there is none")
    return mean_share(group, scaled, _factors)


def _factors(member: Member) -> Tensor:
    return kernel(member.layer).abs()[member.channels]
