"""Two convolutions: k × 1 with r channels, then 1 × k (truncated SVD of the separable form).

M. Jaderberg et al., "Speeding up convolutional neural networks with low rank expansions", BMVC
2014; in closed form by C. Tai et al., "Convolutional neural networks with low-rank
regularization", ICLR 2016.

    W [in·h, w·out] = U S Vᵀ           W ≈ Σ_{i≤r} (u_i √σ_i)(√σ_i v_i)ᵀ
    conv(in → out, h × w)   →   conv(in → r, h × 1), conv(r → out, 1 × w)

r         rank; exact at min(in·h, w·out)
‖W − Ŵ‖² = Σ_{i>r} σ_i², the least of any such pair [F: Tai, theorem 1]

Padding, stride and dilation act on each axis alone, so the pair is exact up to the rank for any of
them: the vertical half keeps those of the height, the horizontal half those of the width.
"""

from torch import Tensor, linalg

from compress.lowrank import vbmf
from compress.lowrank.base import Conv, Ranks, part, smallest

HEIGHT, WIDTH = 0, 1


def applies(conv: Conv) -> bool:
    """A window of two axes, both longer than 1."""
    return len(conv.kernel_size) == 2 and min(conv.kernel_size) > 1


def largest(W: Tensor) -> Ranks:
    """The rank of any such matrix."""
    return (min(_matrix(W).shape),)


def for_energy(W: Tensor, energy: float) -> Ranks:
    """Exactly: the error is the dropped energy."""
    return (smallest(linalg.svdvals(_matrix(W)), 1 - energy),)


def for_noise(W: Tensor) -> Ranks:
    """Of the matrix."""
    return (vbmf.rank(_matrix(W)),)


def layers(conv: Conv, ranks: Ranks) -> list[Conv]:
    """Vertical, horizontal."""
    (r,) = ranks
    return [
        part(conv, conv.in_channels, r, (HEIGHT,)),
        part(conv, r, conv.out_channels, (WIDTH,)),
    ]


def factors(W: Tensor, ranks: Ranks) -> list[Tensor]:
    """U_r [r, in, h, 1] and V_r [out, r, 1, w] with √S_r each."""
    (r,) = ranks
    outputs, inputs, height, width = W.shape
    U, S, Vt = linalg.svd(_matrix(W), full_matrices=False)
    root = S[:r].sqrt()
    vertical = (U[:, :r] * root).reshape(inputs, height, r).permute(2, 0, 1)
    horizontal = (root[:, None] * Vt[:r]).reshape(r, width, outputs).permute(2, 0, 1)
    return [vertical[:, :, :, None], horizontal[:, :, None, :]]


def _matrix(W: Tensor) -> Tensor:
    return W.permute(1, 2, 3, 0).flatten(2).flatten(0, 1)
