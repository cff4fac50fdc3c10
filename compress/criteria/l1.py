"""L1 norm of filters.

H. Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017.

    s_c = mean over the layers l that produce channel c of  ‖W_l[c]‖₁ / mean_c' ‖W_l[c']‖₁

W_l[c]  the weights that make output channel c in convolution or linear layer l
Dividing by the layer's mean makes scores of different layers comparable in one ranking.
"""

import torch
import torch_pruning as tp
from torch import Tensor

from compress.criteria.base import Group, Statistics

PRODUCERS = (
    tp.prune_conv_out_channels,
    tp.prune_linear_out_channels,
    tp.prune_depthwise_conv_out_channels,
)


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels."""
    scores = []
    for member in group:
        dependency, indices = member
        if dependency.handler not in PRODUCERS:
            continue
        weight = dependency.target.module.weight.detach()
        norm = weight.abs().flatten(1).sum(1)[indices]
        own = torch.zeros(len(group[0].idxs))
        roots = torch.tensor(member.root_idxs)
        own.index_add_(0, roots, norm / norm.mean().clamp_min(1e-12))
        scores.append(own)
    return torch.stack(scores).mean(0)
