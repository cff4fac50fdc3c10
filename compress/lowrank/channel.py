"""Two convolutions: the window with r channels, then 1 × 1 (truncated SVD).

X. Zhang et al., "Accelerating very deep convolutional networks for classification and detection",
TPAMI 2016: the responses of a layer lie near a subspace, so few filters and a 1 × 1 mix will do.

    W [out, in·window] = U S Vᵀ        W ≈ (U_r √S_r) (√S_r V_rᵀ)
    conv(in → out, window)   →   conv(in → r, window), conv(r → out, 1)

U, S, V   singular vectors and values of the filters as a matrix
r         rank; exact at min(out, in·window)
‖W − Ŵ‖² = Σ_{i>r} σ_i², the least of any rank r (Eckart-Young) [F]

[C] The kernel alone is approximated, not the responses: no data is needed, and fine-tuning
follows. √S goes to both halves, so that one learning rate suits both. Stride and padding stay with
the window, so the 1 × 1 convolution works on the smaller map. A 1 × 1 convolution becomes two.
"""

from torch import Tensor, linalg

from compress.lowrank import vbmf
from compress.lowrank.base import Conv, Ranks, axes, part, smallest


def applies(conv: Conv) -> bool:
    """Always."""
    return True


def largest(W: Tensor) -> Ranks:
    """The rank of any such matrix."""
    return (min(W.flatten(1).shape),)


def for_energy(W: Tensor, energy: float) -> Ranks:
    """Exactly: the error is the dropped energy."""
    return (smallest(linalg.svdvals(W.flatten(1)), 1 - energy),)


def for_noise(W: Tensor) -> Ranks:
    """Of the matrix."""
    return (vbmf.rank(W.flatten(1)),)


def layers(conv: Conv, ranks: Ranks) -> list[Conv]:
    """Window, 1 × 1."""
    (r,) = ranks
    return [
        part(conv, conv.in_channels, r, axes(conv)),
        part(conv, r, conv.out_channels, ()),
    ]


def factors(W: Tensor, ranks: Ranks) -> list[Tensor]:
    """V_r and U_r with √S_r each."""
    (r,) = ranks
    U, S, Vt = linalg.svd(W.flatten(1), full_matrices=False)
    root = S[:r].sqrt()
    window = W.shape[2:]
    return [
        (root[:, None] * Vt[:r]).reshape(r, -1, *window),
        (U[:, :r] * root).reshape(-1, r, *[1] * len(window)),
    ]
