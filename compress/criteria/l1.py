"""L1 norm of filters.

H. Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017.

    s_c = mean over the layers l that produce channel c of  ‖W_l[c]‖₁ / mean_c' ‖W_l[c']‖₁

W_l[c]  the weights that make output channel c in convolution or linear layer l
Dividing by the layer's mean makes scores of different layers comparable in one ranking.
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
    return W.abs().sum(1)[member.channels]
