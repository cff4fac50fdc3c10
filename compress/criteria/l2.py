"""L2 norm of filters.

Y. He et al., "Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks", IJCAI
2018, ranks filters so.

    s_c = mean over the layers l that produce channel c of  ‖W_l[c]‖₂ / mean_c' ‖W_l[c']‖₂

W_l[c]  the weights that make output channel c in convolution or linear layer l
[C] Dividing by the layer's mean, and the mean over tied layers, as for the L1 norm.
"""

from torch import Tensor

from compress.criteria.base import Group, Statistics
from compress.criteria.filters import kernel, rows
from compress.criteria.members import Member, mean_share, producers


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels."""
    return mean_share(group, producers(group), _norms)


def _norms(member: Member) -> Tensor:
    W = rows(member.layer, kernel(member.layer))
    return W.square().sum(1).sqrt()[member.channels]
