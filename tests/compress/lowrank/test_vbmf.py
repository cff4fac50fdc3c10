"""EVBMF: planted ranks and noise are found, and σ² is the minimum of the free energy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from compress.lowrank import vbmf


def _planted(rows: int, columns: int, rank: int, noise: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return draw(rows, rank) @ draw(rank, columns) + noise * draw(rows, columns)


@pytest.mark.parametrize(
    ("rows", "columns", "rank", "noise"),
    [(64, 288, 10, 0.3), (288, 64, 10, 0.3), (96, 96, 20, 0.5), (16, 144, 3, 0.1)],
)
def test_a_planted_rank_is_found(rows: int, columns: int, rank: int, noise: float) -> None:
    Y = _planted(rows, columns, rank, noise)
    assert vbmf.rank(Y) == rank
    assert vbmf.noise(Y) == pytest.approx(noise**2, rel=0.15)


def test_a_matrix_and_its_transpose_agree() -> None:
    Y = _planted(40, 90, 5, 0.2)
    assert vbmf.rank(Y) == vbmf.rank(Y.T)
    assert vbmf.noise(Y) == pytest.approx(vbmf.noise(Y.T))


def test_noise_alone_leaves_one() -> None:
    Y = _planted(64, 200, 0, 1.0)
    assert vbmf.rank(Y) == 1
    assert vbmf.noise(Y) == pytest.approx(1, rel=0.05)


def test_signal_under_the_threshold_is_noise() -> None:
    """Of a component that is weaker than random matrices make by chance nothing can be told."""
    Y = _planted(64, 256, 3, 0.1)
    weak = torch.ones(64, 1, dtype=torch.float64) @ torch.ones(1, 256, dtype=torch.float64) * 0.005
    assert vbmf.rank(Y) == vbmf.rank(Y + weak) == 3


def test_exact_low_rank_and_zeros_have_an_answer() -> None:
    assert vbmf.rank(_planted(16, 60, 3, 0.0)) == 3
    assert vbmf.rank(torch.zeros(8, 12, dtype=torch.float64)) == 1


def test_sigma_minimises_the_free_energy() -> None:
    """The formula written out anew, on a grid."""
    Y = _planted(30, 70, 4, 0.4)
    gamma = torch.linalg.svdvals(Y).numpy()
    L, M, alpha = 30, 70, 30 / 70

    def phi(z: float) -> float:
        return float(np.log(z + 1) / z - 0.5)

    grid = np.linspace(0.1, 6, 60_000)
    least = grid[np.argmin([abs(phi(z) + phi(z / alpha)) for z in grid])]
    x_least = (1 + least) * (1 + alpha / least)

    def energy(sigma2: float) -> float:
        x = gamma**2 / (M * sigma2)
        total = 0.0
        for value in x:
            total += value - np.log(value)
            if value > x_least:
                root = value - (1 + alpha)
                tau = (root + np.sqrt(root**2 - 4 * alpha)) / 2
                total += np.log(tau + 1) + alpha * np.log(tau / alpha + 1) - tau
        return float(total)

    candidates = np.geomspace(0.05, float((gamma**2).sum()) / (L * M), 400)
    best = candidates[np.argmin([energy(sigma2) for sigma2 in candidates])]
    assert vbmf.noise(Y) == pytest.approx(best, rel=0.02)
