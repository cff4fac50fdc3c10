"""Four convolutions: 1 × 1, k × 1 and 1 × k on each channel alone, 1 × 1 (CP by regularised ALS).

V. Lebedev et al., "Speeding-up convolutional neural networks using fine-tuned CP-decomposition",
ICLR 2015.

    W_oihw ≈ Σ_r A_or B_ir P_hr Q_wr
    conv(in → out, h × w)   →   conv(in → R, 1), depthwise h × 1, depthwise 1 × w, conv(R → out, 1)

A, B, P, Q   factor matrices, a column each per component; axes of length 1 have none
R            rank; exact at window · min(in, out), the factors then being singular vectors of the
             kernel's slices
ε            ‖W − Ŵ‖² / ‖W‖²

Alternating least squares: each factor in turn solves A (G + μI) = W_(A) K, with K the Khatri-Rao
product of the others and G = KᵀK.

CP has no best approximation in general: components may grow without bound and cancel each other
[F: de Silva & Lim 2008], and networks with such layers do not train [F: Phan 2020]. What keeps it
stable here [C]:
- Ridge: μ = RIDGE · max(ε, Σ‖component‖² / (ROOM ‖W‖²) − 1) · mean diag G. It makes large
  components cost something while there is an error that cancelling could lower, fades as the fit
  becomes exact, and grows again when components outgrow ROOM times the kernel. On trained 3 × 3
  kernels Σ‖component‖²/‖W‖² was 1.8 to 3.0 instead of 4.9 to 12, for 0.3 to 1.5 % more ε; on a
  tensor that has no best approximation it stays at 4.2 where it would grow for ever.
- Balance: before each sweep the norm of a component is spread evenly over its factors, so the ridge
  means the component's size, and one learning rate suits all four convolutions.
- Start: the R largest singular triplets of the slices W[:, :, h, w]. Nothing is random.
- float64; at most SWEEPS sweeps, fewer when ε falls by less than SETTLED of itself.
There is no closed form for the rank either: `for_energy` bisects with short runs; for VBMF, R is
the larger of the estimated ranks of the two channel unfoldings, which no CP rank can be below.

Why an own ALS: TensorLy 0.10 has only a constant ridge, and needs 3.6 s of CPU time for 5 sweeps of
a 256 × 256 × 3 × 3 kernel at rank 96 where this file needs .28 s with its start and ends at a lower
error; for the same Tucker-2 decomposition .56 s where tucker.py needs .19 s.
"""

import math

import torch
from torch import Tensor, linalg

from compress.lowrank import vbmf
from compress.lowrank.base import Conv, Ranks, axes, part, smallest

RIDGE = 0.01
ROOM = 4.0
SWEEPS = 60
SHORT = 15  # sweeps of a trial
SETTLED = 2e-4
SINGULAR = 1e-12  # least ridge: components may come to depend on each other
TINY = 1e-30


def applies(conv: Conv) -> bool:
    """A window of more than one weight; otherwise it is the channel form with scales between."""
    return max(conv.kernel_size) > 1


def largest(W: Tensor) -> Ranks:
    """Enough for every slice's singular triplets."""
    return (math.prod(W.shape[2:]) * min(W.shape[:2]),)


def for_energy(W: Tensor, energy: float) -> Ranks:
    """By bisection; the full run on these ranks is at least as good as the trial.

    No fewer will do than either channel unfolding needs; as many as the slices need are enough.
    """
    dropped = 1 - energy
    unfolded = (W.flatten(1), W.transpose(0, 1).flatten(1))
    low = max(smallest(linalg.svdvals(matrix), dropped) for matrix in unfolded) - 1
    slices = linalg.svdvals(W.flatten(2).movedim(2, 0)).flatten().sort(descending=True).values
    high = smallest(slices, dropped)
    while high - low > max(1, high // 32):
        middle = (low + high) // 2
        if decompose(W, middle, SHORT, goal=dropped)[1] <= dropped:
            high = middle
        else:
            low = middle
    return (high,)


def for_noise(W: Tensor) -> Ranks:
    """The larger of both channel unfoldings'."""
    return (max(vbmf.rank(W.flatten(1)), vbmf.rank(W.transpose(0, 1).flatten(1))),)


def layers(conv: Conv, ranks: Ranks) -> list[Conv]:
    """1 × 1, one depthwise convolution per axis, 1 × 1."""
    (R,) = ranks
    long = _axes(conv.weight)
    flat = [axis for axis in axes(conv) if axis not in long]  # may have a stride all the same
    along = [part(conv, R, R, (axis,), groups=R) for axis in long]
    return [part(conv, conv.in_channels, R, flat), *along, part(conv, R, conv.out_channels, ())]


def factors(W: Tensor, ranks: Ranks) -> list[Tensor]:
    """Bᵀ, P, Q, A."""
    found, _ = decompose(W, ranks[0], SWEEPS)
    A, B, *along = found
    flat = [1] * (W.ndim - 2)
    kernels = []
    for axis, matrix in zip(_axes(W), along, strict=True):
        shape = [1] * (W.ndim - 2)
        shape[axis] = len(matrix)
        kernels.append(matrix.T.reshape(-1, 1, *shape))
    return [B.T.reshape(len(B.T), -1, *flat), *kernels, A.reshape(len(A), -1, *flat)]


def decompose(
    W: Tensor, rank: int, sweeps: int, ridge: float = RIDGE, goal: float = 0.0
) -> tuple[list[Tensor], float]:
    """Factors [size, rank] of out, in and each axis longer than 1; and ε, good enough at `goal`."""
    T = W.squeeze(tuple(2 + axis for axis in range(W.ndim - 2) if W.shape[2 + axis] == 1))
    power = T.square().sum().clamp_min(TINY)
    found = _slices(T, rank)
    error = _error(T, found) / float(power)
    for _ in range(sweeps):
        found, before = _balanced(found), error
        weight = ridge * max(error, size(found) / float(power) / ROOM - 1)
        for mode in range(T.ndim):
            found[mode] = _solved(_products(T, found, mode), found, mode, weight)
        error = _error(T, found) / float(power)
        if error <= goal or abs(before - error) < SETTLED * before:
            break
    return _balanced(found), error


def size(found: list[Tensor]) -> float:
    """Σ‖component‖²: far above ‖W‖² when components cancel each other."""
    return float(torch.stack([F.square().sum(0) for F in found]).prod(0).sum())


def _axes(W: Tensor) -> list[int]:
    return [axis for axis in range(W.ndim - 2) if W.shape[2 + axis] > 1]


def _slices(T: Tensor, rank: int) -> list[Tensor]:
    """The largest singular triplets of T[:, :, h, w], whose factors along the window are units."""
    places = list(
        torch.cartesian_prod(*(torch.arange(size) for size in T.shape[2:])).view(-1, T.ndim - 2)
    )
    U, S, Vt = linalg.svd(T.flatten(2).movedim(2, 0), full_matrices=False)
    order = S.flatten().argsort(descending=True, stable=True)[:rank]
    where, which = order // S.shape[1], order % S.shape[1]
    A = U[where, :, which].T * S.flatten()[order]
    window = torch.stack(places)[where]
    units = [
        torch.eye(size, dtype=T.dtype)[:, window[:, axis]] for axis, size in enumerate(T.shape[2:])
    ]
    return [A, Vt[where, which].T, *units]


def _products(T: Tensor, found: list[Tensor], mode: int) -> Tensor:
    """T's unfolding along `mode` times the Khatri-Rao product of the other factors [size, rank].

    All modes but the first share one product with A, so nothing of the size of out × in × rank
    is ever formed.
    """
    A, B, *along = found
    if mode == 0:
        return T.flatten(1) @ _khatri_rao([B, *along])
    inside = (T.flatten(1).T @ A).reshape(*T.shape[1:], -1)  # [in, *window, rank]
    if mode == 1:
        return torch.einsum("i...r,...r->ir", inside.flatten(1, -2), _khatri_rao(along))
    inside = torch.einsum("i...r,ir->...r", inside, B).movedim(mode - 2, 0)
    others = [F for index, F in enumerate(along) if index != mode - 2]
    return (inside * _khatri_rao(others)).sum(1) if others else inside


def _solved(products: Tensor, found: list[Tensor], mode: int, ridge: float) -> Tensor:
    """The factor of `mode` that is best for the others."""
    G = torch.stack([F.T @ F for index, F in enumerate(found) if index != mode]).prod(0)
    mean = G.diagonal().mean().clamp_min(TINY)  # of a kernel of zeros
    G += torch.eye(len(G), dtype=G.dtype) * (ridge + SINGULAR) * mean
    solution: Tensor = linalg.solve(G, products.T)
    return solution.T


def _error(T: Tensor, found: list[Tensor]) -> float:
    return float((T.flatten(1) - found[0] @ _khatri_rao(found[1:]).T).square().sum())


def _khatri_rao(matrices: list[Tensor]) -> Tensor:
    """[Π sizes, rank], the last size running fastest."""
    result = matrices[0]
    for matrix in matrices[1:]:
        result = (result[:, None] * matrix[None]).flatten(0, 1)
    return result


def _balanced(found: list[Tensor]) -> list[Tensor]:
    norms = torch.stack([F.norm(dim=0).clamp_min(TINY) for F in found])
    common = norms.log().mean(0).exp()
    return [F / norm * common for F, norm in zip(found, norms, strict=True)]
