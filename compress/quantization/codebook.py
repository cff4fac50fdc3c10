"""Codebooks: the weights of a layer share a few values, or a few short vectors of values.

S. Han, H. Mao, W. J. Dally, "Deep Compression", ICLR 2016 (shared values, summed gradients);
Y. Gong et al., "Compressing Deep Convolutional Networks using Vector Quantization", 2014 (vectors);
Y. Choi et al., "Towards the Limit of Network Quantization", ICLR 2017 (weighted k-means).

    min over C, a   Σ_i Σ_j h_ij·(v_ij − c_{a(i),j})²

v_i  d weights in a row of one filter   a(i)  its entry   C  the codebook [K, d]
h    what a weight matters: 1, its influence |w·∂L/∂w|, or the diagonal (∂L/∂w)² of the Fisher
     information, which stands for the Hessian

solved by Lloyd's iterations. Entries start evenly between the least and the largest weight where
d = 1 (as Han found best), else at vectors drawn without repetition; an entry that nothing chose
moves to the vector that is worst off.

Zeros that `sparse` left share an entry of their own, which training leaves at zero (pruning, then
shared values, is Deep Compression's order).

Fine-tuning moves the entries: every weight gets the sum of the gradients of all weights that share
its entry, so weights that were equal stay equal under any optimizer that treats weights alike.

A layer stored so takes n/d·⌈log₂ K⌉ bits of indices and 32·K·d of codebook. TFLite has no such
format: in a .tflite the weights take what they took before.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compress import names
from compress.granularity import masks
from device.errors import FieldwrenError

ITERATIONS = 30
FLOAT_BITS = 32
CHUNK = 1 << 22  # distances held at a time
LEAST = 1e-6  # of the mean importance: no weight may move freely


@dataclass(frozen=True)
class Coded:
    """One kernel or matrix after clustering."""

    layer: str  # as in compress/names.py: weights
    weights: int
    entries: int
    vector: int
    error: float  # RMS of the change over σ of the weights

    @property
    def bits(self) -> int:
        """Indices and codebook."""
        indices = self.weights // self.vector * math.ceil(math.log2(self.entries))
        return indices + self.entries * self.vector * FLOAT_BITS


def cluster(vectors: Tensor, importance: Tensor, entries: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weighted k-means of [n, d] with h [n, d] → codebook [K, d], index of each vector [n]."""
    n, d = vectors.shape
    h = importance / importance.mean().clamp_min(1e-30) + LEAST
    if d == 1:
        low, high = vectors.aminmax()
        codebook = torch.linspace(float(low), float(high), entries)[:, None]
    else:
        draw = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:entries]
        codebook = vectors[draw].clone()
    indices = torch.full((n,), -1)
    for _ in range(ITERATIONS):
        nearest, errors = _assign(vectors, h, codebook)
        if torch.equal(nearest, indices):
            break
        indices = nearest
        mass = torch.zeros(entries, d).index_add_(0, indices, h)
        total = torch.zeros(entries, d).index_add_(0, indices, h * vectors)
        used = mass[:, 0] > 0
        codebook[used] = total[used] / mass[used]
        idle = (~used).nonzero()[:, 0]
        if len(idle):
            worst = errors.topk(min(len(idle), n)).indices
            codebook[idle[: len(worst)]] = vectors[worst]
    return codebook, _assign(vectors, h, codebook)[0]


def _assign(vectors: Tensor, h: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest entry [n] and the weighted squared distance to it [n]."""
    nearest, errors = [], []
    size = max(1, CHUNK // len(codebook))
    for v, weight in zip(torch.split(vectors, size), torch.split(h, size), strict=True):
        # Σ_j h·v² is the same for all entries
        distance = weight @ codebook.square().T - 2 * (weight * v) @ codebook.T
        least = distance.min(1)
        nearest.append(least.indices)
        errors.append(least.values + (weight * v.square()).sum(1))
    return torch.cat(nearest), torch.cat(errors)


class Shared:
    """The coded layers of a network; a companion of its fine-tuning (compress/train.py)."""

    def __init__(self) -> None:
        self.layers: dict[str, tuple[nn.Parameter, Tensor, int, int]] = {}  # indices, entries, d

    def add(
        self, name: str, weight: nn.Parameter, indices: Tensor, entries: int, vector: int
    ) -> None:
        """A layer whose vectors share entries by `indices`."""
        self.layers[name] = weight, indices, entries, vector

    def to(self, device: torch.device) -> "Shared":
        self.layers = {
            name: (weight, indices.to(device), entries, vector)
            for name, (weight, indices, entries, vector) in self.layers.items()
        }
        return self

    def loss(self) -> Tensor:
        """Nothing is asked beside the task."""
        return torch.zeros(())

    def step(self) -> None:
        """Every weight gets the gradient of its entry: the sum over all that share it."""
        for weight, indices, entries, vector in self.layers.values():
            if weight.grad is not None:
                weight.grad = _shared(weight.grad, indices, entries, vector, mean=False)

    def tie(self) -> None:
        """Make weights that share an entry equal to the last bit."""
        with torch.no_grad():
            for weight, indices, entries, vector in self.layers.values():
                weight.copy_(_shared(weight, indices, entries, vector, mean=True))

    def state_dict(self) -> dict[str, Any]:
        return {name: indices for name, (_, indices, _, _) in self.layers.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Indices are found again in the same way; a checkpoint must agree."""
        for name, (weight, _, entries, vector) in self.layers.items():
            self.layers[name] = weight, state[name], entries, vector


def code(
    net: nn.Module,
    importance: Mapping[str, Tensor],
    *,
    entries: int,
    vector: int,
    keep: Iterable[str],
    seed: int,
) -> tuple[Shared, tuple[Coded, ...]]:
    """Replace the kernels and matrices of `net`, in place, by their codebooks' entries.

    Args:
        importance: h by name, of the weight's shape; one that is missing counts evenly.
        keep: patterns of names of layers that stay as they are.

    A layer stays as it is, too, if its codebook would make it no smaller or it is all zeros; its
    vectors are as long as `vector` and the length of a filter allow.

    Raises:
        BadInputError: keep names no layer.
        FieldwrenError: a weight or what it matters is no number; the network is then as it was.
    """
    shared, coded = Shared(), []
    kept = names.matching(keep, names.layers(net))
    changing = {
        name: (layer, parameter)
        for name, (layer, parameter) in names.weights(net).items()
        if layer not in kept
    }
    for name, (_, parameter) in changing.items():
        _check_finite(name, "weights", parameter)
        _check_finite(name, "gradients", importance.get(name, parameter))
    for name, (layer, parameter) in changing.items():
        weight = parameter.detach()
        d = math.gcd(vector, weight[0].numel())
        plan = Coded(name, weight.numel(), entries, d, 0.0)
        if plan.bits >= weight.numel() * FLOAT_BITS or not weight.any():
            continue
        h = importance.get(name, torch.ones_like(weight))
        v, h = (values.float().cpu().reshape(-1, d) for values in (weight, h))
        held = masks.held(net.get_submodule(layer))
        free = v.any(1) if held else torch.ones(len(v), dtype=torch.bool)
        zero = int(not free.all())  # one entry is that of the zeros
        chosen, nearest = cluster(v[free], h[free], entries - zero, seed)
        codebook = torch.cat((torch.zeros(zero, d), chosen))
        indices = torch.zeros(len(v), dtype=torch.long)
        indices[free] = nearest + zero
        found = codebook[indices].view(weight.shape).to(weight)
        change = float((found - weight).square().mean().sqrt() / weight.std().clamp_min(1e-12))
        with torch.no_grad():
            parameter.copy_(found)
        shared.add(name, parameter, indices, entries, d)
        coded.append(Coded(name, weight.numel(), entries, d, change))
    return shared, tuple(coded)


def _check_finite(name: str, what: str, values: Tensor) -> None:
    """One that is not would make all entries of its layer so."""
    if not values.isfinite().all():
        raise FieldwrenError(
            f"{name}: its {what} are NaN or infinite: the training before codebook diverged: take "
            "a lower lr or clip its gradients"
        )


def stored(net: nn.Module, coded: Iterable[Coded]) -> tuple[int, int]:
    """Bytes of all parameters and buffers: as float32, and with the coded layers as codebooks."""
    everything = [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]
    plain = 4 * sum(values.numel() for values in everything)
    saved = sum(layer.weights * FLOAT_BITS - layer.bits for layer in coded)
    return plain, plain - saved // 8


def _shared(values: Tensor, indices: Tensor, entries: int, vector: int, *, mean: bool) -> Tensor:
    flat = values.reshape(-1, vector)
    total = torch.zeros(entries, vector, dtype=torch.float64, device=flat.device)
    total.index_add_(0, indices, flat.double())
    if mean:
        total /= indices.bincount(minlength=entries).clamp_min(1)[:, None]
    return total[indices].to(values.dtype).view(values.shape)
