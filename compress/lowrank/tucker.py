"""Three convolutions: 1 × 1 to s channels, the window from s to r, 1 × 1 to all (Tucker-2).

Y.-D. Kim et al., "Compression of deep convolutional neural networks for fast and low power mobile
applications", ICLR 2016.

    W_oiw ≈ Σ_ab U_oa G_abw V_ib
    conv(in → out, window)   →   conv(in → s, 1), conv(s → r, window), conv(r → out, 1)

U, V    [out, r] and [in, s], orthonormal columns
G       core [r, s, window]
r, s    ranks; exact at min(out, in·window) and min(in, out·window)
‖W − Ŵ‖² = ‖W‖² − ‖G‖²  ≤  Σ_{i>r} σ_i²(W_(out)) + Σ_{i>s} σ_i²(W_(in))        (HOSVD)

U and V start as leading singular vectors of the two unfoldings (HOSVD); then each is made the
best for the other, SWEEPS times (HOOI), which never raises the error. [F]
[C] For an energy e each of the two ranks may drop (1 − e)/2 of ΣW², so by the bound above the
pair keeps at least e. The core is not scaled: orthonormal halves leave the size of signals alone.
"""

import torch
from torch import Tensor, linalg

from compress.lowrank import vbmf
from compress.lowrank.base import Conv, Ranks, axes, part, smallest

SWEEPS = 5


def applies(conv: Conv) -> bool:
    """A window of more than one weight; otherwise the middle layer is for nothing."""
    return max(conv.kernel_size) > 1


def largest(W: Tensor) -> Ranks:
    """The ranks of both unfoldings of any such tensor."""
    return min(_outer(W).shape), min(_inner(W).shape)


def for_energy(W: Tensor, energy: float) -> Ranks:
    """So that at least `energy` is kept."""
    dropped = (1 - energy) / 2
    return (
        smallest(linalg.svdvals(_outer(W)), dropped),
        smallest(linalg.svdvals(_inner(W)), dropped),
    )


def for_noise(W: Tensor) -> Ranks:
    """Of both unfoldings."""
    return vbmf.rank(_outer(W)), vbmf.rank(_inner(W))


def layers(conv: Conv, ranks: Ranks) -> list[Conv]:
    """1 × 1, window, 1 × 1."""
    r, s = ranks
    return [
        part(conv, conv.in_channels, s, ()),
        part(conv, s, r, axes(conv)),
        part(conv, r, conv.out_channels, ()),
    ]


def factors(W: Tensor, ranks: Ranks) -> list[Tensor]:
    """Vᵀ, G, U."""
    r, s = ranks
    V = _leading(_inner(W), s)
    for _ in range(1 + SWEEPS):
        U = _leading(_outer(torch.einsum("oi...,is->os...", W, V)), r)
        V = _leading(_inner(torch.einsum("oi...,or->ri...", W, U)), s)
    G = torch.einsum("oi...,or,is->rs...", W, U, V)
    flat = [1] * (W.ndim - 2)
    return [V.T.reshape(s, -1, *flat), G, U.reshape(-1, r, *flat)]


def _outer(W: Tensor) -> Tensor:
    return W.flatten(1)


def _inner(W: Tensor) -> Tensor:
    return W.transpose(0, 1).flatten(1)


def _leading(matrix: Tensor, count: int) -> Tensor:
    """The `count` leading left singular vectors [rows, count]."""
    # a thin matrix has fewer than rows; the Gram matrix always has all
    vectors: Tensor = linalg.eigh(matrix @ matrix.T).eigenvectors
    return vectors.flip(1)[:, :count]
