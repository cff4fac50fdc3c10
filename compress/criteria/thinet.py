"""Reconstruction of the next layer's output (ThiNet), greedy.

J.-H. Luo et al., "ThiNet: A Filter Level Pruning Method for Deep Neural Network Compression", ICCV
2017, equation 6 and algorithm 1.

    y_i = Σ_c x̂_ic                                    sampled outputs i of a layer that reads
    T ← T ∪ argmin_c Σ_i (Σ_{t in T ∪ c} x̂_it)²       until nothing is left
    s_c = place of c in T / channels                  first to go, smallest

x̂_ic  what channel c adds to output i, bias aside: its weights times its part of the patch
T     removed channels: those that together change the next layer's outputs least
The greedy form, without the paper's least-squares scaling of what is left: fine-tuning does that.
[C] Samples: OUTPUTS channels × POSITIONS, both drawn, of every batch. If several layers read the
channels, their samples are put together, each layer's scaled to the same Σ_i y_i². The place makes
groups comparable only as a share of channels: a global ranking takes the same from each.
Memory: samples × input channels floats per layer, e.g. 4 MB for 8 batches and 512 channels.
"""

import zlib

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from compress.criteria.base import Group, Statistics
from compress.criteria.filters import kernel, respond
from compress.criteria.members import TINY, consumers, of
from compress.statistics import Calibration
from device.errors import FieldwrenError

OUTPUTS = 8
POSITIONS = 32


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels.

    Raises:
        FieldwrenError: no layer reads the channels.
    """
    found = statistics.found(gather)
    channels = len(group[0].idxs)
    gram = torch.zeros(channels, channels, dtype=torch.float64)
    readers = consumers(group)
    if not readers:
        name = str(group[0].dep.target.name).split(" ")[0]
        raise FieldwrenError(f"{name}: no layer reads its channels: they are the answer")
    unread = torch.ones(channels, dtype=torch.bool)
    for member in readers:
        unread[member.roots] = False
        x = of(found, member).double()
        x = torch.zeros(channels, x.shape[1], dtype=x.dtype).index_add_(0, member.roots, x)
        gram += x @ x.T / x.sum(0).square().sum().clamp_min(TINY)
    places = torch.empty(channels)
    places[removal_order(gram)] = torch.arange(1.0, channels + 1)
    places[unread] = places[unread].mean()  # a gate's half, say: no order among these
    return places / channels


def removal_order(gram: Tensor) -> Tensor:
    """Channels in the order of greedy removal; gram[c, d] = Σ_i x̂_ic x̂_id."""
    diagonal, cross = gram.diagonal().clone(), torch.zeros(len(gram), dtype=gram.dtype)
    left = torch.ones(len(gram), dtype=torch.bool)
    order = []
    for _ in range(len(gram)):
        added = torch.where(left, diagonal + 2 * cross, torch.inf)
        chosen = int(added.argmin())
        order.append(chosen)
        left[chosen] = False
        cross += gram[chosen]
    return torch.tensor(order)


def gather(calibration: Calibration, seed: int) -> dict[nn.Module, Tensor]:
    """x̂ [in, samples] of every layer."""
    names = calibration.layers()
    generators: dict[nn.Module, torch.Generator] = {}
    found: dict[nn.Module, list[Tensor]] = {}

    def measure(layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if layer not in generators:
            layer_seed = zlib.crc32(f"{seed} {names[layer]}".encode())
            generators[layer] = torch.Generator().manual_seed(layer_seed)
        found.setdefault(layer, []).append(sample(layer, x, generators[layer]).cpu())
        return torch.zeros(())

    calibration.forward(measure)
    return {layer: torch.cat(parts, 1) for layer, parts in found.items()}


def sample(layer: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
    """What each input channel adds to some outputs [in, OUTPUTS × POSITIONS]."""
    outputs = layer.out_channels if isinstance(layer, _ConvNd) else layer.out_features
    assert isinstance(outputs, int)
    parts = []
    for o in torch.randint(outputs, (OUTPUTS,), generator=generator).tolist():
        added = contributions(layer, x, o)
        places = torch.randint(added.shape[1], (POSITIONS,), generator=generator)
        parts.append(added[:, places.to(added.device)])
    return torch.cat(parts, 1)


def contributions(layer: nn.Module, x: Tensor, output: int) -> Tensor:
    """What each input channel adds to one output channel, everywhere [in, positions].

    Summed over the input channels, it is that output without bias.
    """
    W = kernel(layer)
    if not isinstance(layer, _ConvNd):
        return (x * W[output]).movedim(-1, 0).flatten(1)
    inside, outside = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    first = output // outside * inside  # of the input channels that this output's group reads
    kernels = torch.zeros(layer.in_channels, 1, *W.shape[2:], dtype=W.dtype, device=W.device)
    if isinstance(layer, _ConvTransposeNd):
        kernels[first : first + inside, 0] = W[first : first + inside, output % outside]
    else:
        kernels[first : first + inside, 0] = W[output]
    return respond(layer, x, kernels, layer.in_channels).movedim(1, 0).flatten(1)
