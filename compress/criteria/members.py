"""A group's layers by their part in it, and how their channels' values become one score.

A group ties layers together: convolutions joined by a residual sum, a convolution and the
depthwise one behind it, their norms, and all layers that read the result.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch_pruning as tp
from torch import Tensor, nn

from compress.criteria.base import Group
from compress.statistics import Found
from device.errors import FieldwrenError

PRODUCERS = (
    tp.prune_conv_out_channels,
    tp.prune_linear_out_channels,
    tp.prune_depthwise_conv_out_channels,
)
NORMS = (tp.prune_batchnorm_out_channels, tp.prune_groupnorm_out_channels)
CONSUMERS = (tp.prune_conv_in_channels, tp.prune_linear_in_channels)
TINY = 1e-30  # only keeps 0/0 away: scores of layers that are dead altogether are 0


@dataclass(frozen=True)
class Member:
    """One layer's share of a group."""

    name: str
    layer: nn.Module
    size: int  # channels the layer has on this side
    channels: Tensor  # [k] of the layer
    roots: Tensor  # [k] the group's channel that each belongs to


def producers(group: Group) -> list[Member]:
    """Layers whose filters make the group's channels."""
    return _members(group, PRODUCERS, ("out_channels", "out_features"))


def norms(group: Group) -> list[Member]:
    """Batch and group norms on the group's channels."""
    return _members(group, NORMS, ("num_features", "num_channels"))


def consumers(group: Group) -> list[Member]:
    """Layers that read the group's channels."""
    return _members(group, CONSUMERS, ("in_channels", "in_features"))


def mean_share(
    group: Group, members: Iterable[Member], values: Callable[[Member], Tensor]
) -> Tensor:
    """Mean over members of values / the layer's mean [channels].

    Dividing by the layer's mean makes layers of different scale comparable, in one group and in
    one ranking over groups; the mean keeps groups of many layers comparable with small ones.
    """
    scores = []
    for member in members:
        own = values(member)
        entries = spread(group, member, torch.ones_like(own)).clamp_min(1)  # of a flattened map
        scores.append(spread(group, member, own / own.mean().clamp_min(TINY)) / entries)
    return torch.stack(scores).mean(0)


def sum_of_shares(
    group: Group, members: Iterable[Member], values: Callable[[Member], Tensor]
) -> Tensor:
    """Sum over members of the contributions P = values / their sum over the layer [channels].

    A contribution is a part of what the layer tells, so parts add: a residual channel is worth
    what all layers lose that write to it. Magnitudes have no such meaning; they are averaged.
    """
    scores = []
    for member in members:
        own = values(member)
        scores.append(spread(group, member, own / own.sum().clamp_min(TINY)))
    return torch.stack(scores).sum(0)


def spread(group: Group, member: Member, values: Tensor) -> Tensor:
    """A member's values [k] added up on the group's channels [channels]."""
    return torch.zeros(len(group[0].idxs)).index_add_(0, member.roots, values.float().cpu())


def of(found: Found, member: Member) -> Tensor:
    """A member's channels [k, …] of what was measured for all channels of all layers.

    If the layer has been cut since, as by torch-pruning's iterative steps, all are measured again.

    Raises:
        FieldwrenError: the layer was not reached by the data, or has been cut since and the batches
            are used up.
    """
    if member.layer in found and len(found[member.layer]) != member.size:
        found.again()
    if member.layer not in found:
        raise FieldwrenError(f"{member.name}: no calibration batch reaches this layer")
    return found[member.layer][member.channels]


def _members(group: Group, handlers: tuple[object, ...], sizes: tuple[str, ...]) -> list[Member]:
    found = []
    for item in group:
        dependency, channels = item
        if dependency.handler in handlers:
            layer, name = dependency.target.module, str(dependency.target.name).split(" ")[0]
            has = next(getattr(layer, size) for size in sizes if hasattr(layer, size))
            if has <= max(channels):  # make_plan mends the portions, and refuses all else by name
                raise FieldwrenError(
                    f"{name}: torch_pruning takes it for a layer of more channels than its {has}, "
                    "as its own pruners do where a torch.split's portions have several readers or "
                    "other sizes: compress.allocation.make_plan can plan that"
                )
            found.append(
                Member(
                    name=name,
                    layer=layer,
                    size=has,
                    channels=torch.tensor(channels),
                    roots=torch.tensor(item.root_idxs),
                )
            )
    return found
