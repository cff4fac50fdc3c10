"""The rank of a noisy matrix: global analytic solution of empirical variational Bayes (EVBMF).

S. Nakajima, M. Sugiyama, S. D. Babacan, R. Tomioka, "Global analytic solution of fully-observed
variational Bayesian matrix factorization", JMLR 14, 2013.

    Y [L, M] = B Aᵀ + noise of variance σ²,   L ≤ M,   α = L/M
    a singular value γ is signal if        γ² > M σ² (1 + τ̲)(1 + α/τ̲)
    τ̲ solves                               Φ(τ̲) + Φ(τ̲/α) = 0,   Φ(z) = ln(1 + z)/z − 1/2
    σ² minimises                           Σ_h ψ₀(x_h) + Σ_{h: x_h > x̲} ψ₁(x_h),   x_h = γ_h²/(M σ²)
    ψ₀(x) = x − ln x,    ψ₁(x) = ln(τ(x) + 1) + α ln(τ(x)/α + 1) − τ(x),    x̲ = (1 + τ̲)(1 + α/τ̲)
    τ(x) = ½ (x − (1 + α) + √((x − (1 + α))² − 4α))

γ_h   singular values of Y,  h = 1 … L
The rank is a global solution, not one of an iteration; nothing has to be set. [F]
σ² is sought between Σγ²/(LM), all of Y being noise, and the least that leaves at most
⌈L/(1 + α)⌉ − 1 signals, the most the model can have. [F: theorem 9]

Trained kernels are not low rank plus white noise, so this is an estimate like any other; used for
the ranks of convolutions by Y.-D. Kim et al., ICLR 2016.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor, linalg

Values = NDArray[np.float64]
TINY = 1e-12  # of ΣY²/LM: the least noise there is taken to be


def rank(Y: Tensor) -> int:
    """How many singular values are not noise; 1 if none is."""
    return max(1, _signals(linalg.svdvals(Y).numpy(), tuple(Y.shape))[0])


def noise(Y: Tensor) -> float:
    """The estimated variance σ² of the noise."""
    return _signals(linalg.svdvals(Y).numpy(), tuple(Y.shape))[1]


def _signals(gamma: Values, shape: tuple[int, ...]) -> tuple[int, float]:
    L, M = min(shape), max(shape)
    power = float((gamma**2).sum()) / (L * M)
    if power == 0:
        return 0, 0.0
    alpha = L / M
    # Φ falls from ½ to −½: the sum has its one zero between those of its two parts
    least = brentq(lambda tau: _phi(tau) + _phi(tau / alpha), 1e-3 * alpha, 10.0)
    x_least = (1 + least) * (1 + alpha / least)
    most = min(L - 1, math.ceil(L / (1 + alpha)) - 1)
    lowest = max(
        float(gamma[most]) ** 2 / (M * x_least),
        float((gamma[most:] ** 2).mean()) / M,
        TINY * power,
    )
    if lowest >= power:
        sigma2 = power
    else:
        found = minimize_scalar(
            lambda log: _energy(gamma**2 / (M * math.exp(log)), alpha, x_least),
            bounds=(math.log(lowest), math.log(power)),
            method="bounded",
            options={"xatol": 1e-10},
        )
        sigma2 = math.exp(found.x)
    return int((gamma**2 > M * sigma2 * x_least).sum()), sigma2


def _energy(x: Values, alpha: float, x_least: float) -> float:
    """The free energy as a function of the noise, up to constants."""
    signal = x[x > x_least]
    root = signal - (1 + alpha)
    tau = (root + np.sqrt(root**2 - 4 * alpha)) / 2
    psi1 = np.log(tau + 1) + alpha * np.log(tau / alpha + 1) - tau
    return float((x - np.log(np.maximum(x, np.finfo(x.dtype).tiny))).sum() + psi1.sum())


def _phi(z: float) -> float:
    return math.log1p(z) / z - 0.5
