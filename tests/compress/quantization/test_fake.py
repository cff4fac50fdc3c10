"""Fake quantization against numpy, against the exporter's own formula, and its gradients."""

import numpy as np
import pytest
import torch
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as exporter

from compress.quantization import fake

RANGES = [(-1.0, 3.0), (0.0, 6.0), (-2.5, 0.0), (0.5, 2.0), (-4.0, -1.0), (-1e-3, 7e-4), (0.0, 0.0)]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_scale_and_zero_point_are_the_exporters(low: float, high: float) -> None:
    zero, scale = exporter.tensor_zp_scale_from_min_max(
        np.float32([low]), np.float32([high]), 8, False, qtyping.QuantGranularity.TENSORWISE
    )
    got_scale, got_zero = fake.affine(torch.tensor(low), torch.tensor(high))
    assert float(got_scale) == pytest.approx(float(scale[0]), rel=1e-6)
    assert int(got_zero) == int(zero[0])


def test_weights_become_the_exporters_integers() -> None:
    w = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * torch.rand(5, 1, 1, 1)
    flat = w.flatten(1).numpy()
    bound = np.abs(flat).max(1, keepdims=True)
    zero, scale = exporter.tensor_zp_scale_from_min_max(
        -bound, bound, 8, True, qtyping.QuantGranularity.CHANNELWISE
    )
    integers = exporter.uniform_quantize(
        flat, qtyping.UniformQuantParams(8, 0, scale, zero.astype(np.int32))
    )
    expected = integers * scale
    np.testing.assert_allclose(fake.weight(w).flatten(1).numpy(), expected, rtol=1e-6, atol=1e-9)
    assert set(np.unique(integers)) <= set(range(-127, 128))


def test_a_channel_of_zeros_stays_zero() -> None:
    w = torch.zeros(2, 3)
    w[1] = torch.tensor([1.0, -2.0, 0.3])
    assert fake.weight(w)[0].tolist() == [0, 0, 0]


def test_activations_by_hand() -> None:
    low, high = torch.tensor(-1.0), torch.tensor(1.55)  # s = .01, z = −28
    x = torch.tensor([-1.2, -1.0, -0.996, 0.0, 0.004, 0.006, 1.55, 1.7])
    expected = [-1.0, -1.0, -1.0, 0.0, 0.0, 0.01, 1.55, 1.55]
    torch.testing.assert_close(fake.activation(x, low, high), torch.tensor(expected))


def test_gradients_pass_the_rounding_but_not_the_clip() -> None:
    """The oracle is the estimator's definition: one inside the range, zero outside."""
    x = torch.linspace(-2, 3, 501, requires_grad=True)
    upstream = torch.randn(501, generator=torch.Generator().manual_seed(1))
    low, high = torch.tensor(-1.0), torch.tensor(2.0)
    (fake.activation(x, low, high) * upstream).sum().backward()
    scale, zero = fake.affine(low, high)
    q = torch.round(x.detach() / scale) + zero
    inside = (q >= fake.LOWEST) & (q <= fake.HIGHEST)
    assert 0 < int(inside.sum()) < 501
    torch.testing.assert_close(x.grad, upstream * inside)

    w = torch.randn(6, 9, generator=torch.Generator().manual_seed(2), requires_grad=True)
    upstream = torch.randn(6, 9, generator=torch.Generator().manual_seed(3))
    (fake.weight(w) * upstream).sum().backward()
    torch.testing.assert_close(w.grad, upstream)  # no weight is beyond its own largest


def test_dynamic_ranges_are_those_of_each_row_and_clip_nothing() -> None:
    x = torch.randn(4, 7, generator=torch.Generator().manual_seed(4)) * torch.tensor(
        [[1], [5], [0.1], [2]]
    )
    x.requires_grad_(True)
    y = fake.dynamic(x, (-1,))
    for row, got in zip(x.detach(), y.detach(), strict=True):
        low, high = row.min().clamp_max(0), row.max().clamp_min(0)
        torch.testing.assert_close(got, fake.activation(row, low, high))
    y.sum().backward()
    assert x.grad is not None and bool((x.grad == 1).all())
