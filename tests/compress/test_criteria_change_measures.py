"""Cosine and SSIM as measures of what permutation changes, against their definitions."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.criteria import permutation, permutation_cosine, permutation_ssim
from compress.criteria.filters import kernel, rows, weight
from compress.criteria.permutation_shuffles import SHUFFLES
from compress.statistics import Calibration


def _layer() -> tuple[nn.Conv2d, Tensor]:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, 3, padding=1)
    with torch.no_grad():
        layer.weight[1] *= 1e-4  # small
        layer.weight[2] = 0.3  # every order of equal weights is the same filter
        layer.weight[3] = 0.0
    return layer, torch.randn(6, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def _found(gather: object, layer: nn.Module, x: Tensor) -> Tensor:
    calibration = Calibration(
        nn.Sequential(layer), lambda net, batch: net(batch[0]).sum(), [(x[:4],), (x[4:],)]
    )
    (values,) = gather(calibration, 0).values()  # type: ignore[operator]
    return values


def _changed(layer: nn.Conv2d, x: Tensor, draw: int) -> tuple[Tensor, Tensor]:
    """Outputs [examples, out, positions] before and after, through the layer itself."""
    plain, other = (
        nn.Conv2d(3, 5, 3, padding=1, bias=False),
        nn.Conv2d(3, 5, 3, padding=1, bias=False),
    )
    W = rows(layer, kernel(layer))
    shuffled = permutation.shuffled(W, permutation.generator("0", 0, draw))
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
        other.weight.copy_(weight(layer, shuffled))
        return plain(x).double().flatten(2), other(x).double().flatten(2)


def test_cosine_is_one_minus_the_cosine_over_examples_and_positions() -> None:
    layer, x = _layer()
    expected = torch.zeros(5, dtype=torch.float64)
    for draw in range(SHUFFLES):
        y, z = (part.transpose(0, 1).flatten(1) for part in _changed(layer, x, draw))
        expected += 1 - torch.cosine_similarity(y, z, dim=1)
    found = _found(permutation_cosine.gather, layer, x)
    assert torch.allclose(found[[0, 1, 4]], (expected / SHUFFLES)[[0, 1, 4]], atol=1e-5)
    assert float(found[2]) == pytest.approx(0, abs=1e-6)
    assert float(found[3]) == 0


def test_cosine_does_not_see_the_size_of_a_filter() -> None:
    layer, x = _layer()
    before = _found(permutation_cosine.gather, layer, x)[0]
    with torch.no_grad():
        layer.weight[0] *= 1e-3
    assert float(_found(permutation_cosine.gather, layer, x)[0]) == pytest.approx(
        float(before), rel=1e-3
    )


def _ssim(y: np.ndarray, z: np.ndarray, span: float) -> float:
    """Equation 13, written down."""
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    light = (2 * y.mean() * z.mean() + c1) / (y.mean() ** 2 + z.mean() ** 2 + c1)
    covariance = ((y - y.mean()) * (z - z.mean())).mean()
    return float(light * (2 * covariance + c2) / (y.var() + z.var() + c2))


def test_ssim_is_the_mean_over_examples_of_one_minus_ssim() -> None:
    layer, x = _layer()
    expected = np.zeros(5)
    for draw in range(SHUFFLES):
        for part in (x[:4], x[4:]):
            y, z = (values.numpy() for values in _changed(layer, part, draw))
            for channel in (0, 1, 2, 4):
                span = y[:, channel].max() - y[:, channel].min()
                expected[channel] += sum(
                    1 - _ssim(y[i, channel], z[i, channel], span) for i in range(len(part))
                )
    found = _found(permutation_ssim.gather, layer, x).numpy()
    assert np.allclose(found, expected / SHUFFLES / len(x), atol=1e-5)
    assert found[3] == pytest.approx(0)


def test_a_map_is_most_similar_to_itself() -> None:
    y = torch.randn(3, 4, 25, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(permutation_ssim.similarity(y, y), torch.ones(3, 4, dtype=torch.float64))
    mirrored = 2 * y.mean(2, keepdim=True) - y
    assert bool((permutation_ssim.similarity(y, mirrored) < -0.9).all())
    assert bool((permutation_ssim.similarity(y, y.flip(2)) < 1).all())
