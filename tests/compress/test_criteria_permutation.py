"""Permutation: fast forms against the literal loop, the closed form against R and shuffles."""

import pytest
import torch
from torch import Tensor, nn

from compress.criteria import (
    permutation,
    permutation_expected,
    permutation_literal,
    permutation_reinit,
    permutation_shuffles,
    permutation_zero,
)
from compress.criteria.filters import kernel, respond, rows, weight
from compress.statistics import Calibration
from tests.compress import layers

SHUFFLES = 400
EVERY = pytest.mark.parametrize("kind", layers.KINDS)


def _calibration(layer: nn.Module, x: Tensor) -> Calibration:
    """Two batches of the layer alone."""
    net = nn.Sequential(layer)
    return Calibration(net, lambda net, batch: net(batch[0]).sum(), [(x,), (x.flip(0) * 0.5,)])


def _only(found: dict[nn.Module, Tensor]) -> Tensor:
    (values,) = found.values()
    return values


def _inputs(x: Tensor) -> Tensor:
    return torch.cat((x, x.flip(0) * 0.5))


def _covariance(layer: nn.Module, x: Tensor) -> Tensor:
    """R [out, n, n]."""
    X = layers.patches(layer, x)
    return X @ X.transpose(1, 2) / len(x)


@EVERY
def test_a_layer_answers_as_filters_times_patches(kind: str) -> None:
    layer, x = layers.make(kind)
    W = rows(layer, kernel(layer))
    assert torch.equal(weight(layer, W), kernel(layer))
    answer = respond(layer, x, kernel(layer))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    with torch.no_grad():
        assert torch.allclose(answer, layer(x), atol=1e-5)
    expected = torch.einsum("on,onp->op", W.double(), layers.patches(layer, x))
    axis = -1 if isinstance(layer, nn.Linear) else 1
    assert torch.allclose(answer.movedim(axis, 0).flatten(1).double(), expected, atol=1e-4)


@EVERY
def test_all_filters_at_once_give_the_numbers_of_one_after_the_other(kind: str) -> None:
    layer, x = layers.make(kind)
    literal = _only(permutation_literal.gather(_calibration(layer, x), 3))
    at_once = _only(permutation.gather(_calibration(layer, x), 3))
    assert literal.shape == (len(rows(layer, kernel(layer))),)
    assert float(literal.max()) > 0.1
    assert torch.allclose(at_once, literal, rtol=1e-4, atol=1e-5 * float(literal.max()))


@EVERY
def test_the_expectation_is_the_formula_of_the_patch_covariance(kind: str) -> None:
    layer, x = layers.make(kind)
    R = _covariance(layer, _inputs(x))
    for w, R_o, found in zip(
        rows(layer, kernel(layer)).double(),
        R,
        _only(permutation_expected.gather(_calibration(layer, x), 0)),
        strict=True,
    ):
        n, s1, s2, one = len(w), w.sum(), (w**2).sum(), torch.ones_like(w)
        c = (s1**2 - s2) / (n * (n - 1))
        D = (s2 / n - c) * R_o.trace() + c * one @ R_o @ one
        D += -2 * s1 / n * w @ R_o @ one + w @ R_o @ w
        assert float(found) == pytest.approx(float(D), rel=1e-4)


@EVERY
def test_the_expectation_is_the_mean_of_many_shuffles(kind: str) -> None:
    layer, x = layers.make(kind)
    calibration = _calibration(layer, x)
    expected = _only(permutation_expected.gather(calibration, 0))
    mean = _only(permutation.changes(calibration, 0, permutation.shuffled, SHUFFLES))
    assert float(mean.sum() / expected.sum()) == pytest.approx(1, abs=0.05)
    assert float((mean / expected - 1).abs().mean()) < 0.05


@EVERY
def test_zeroing_is_the_quadratic_form_of_the_patch_covariance(kind: str) -> None:
    layer, x = layers.make(kind)
    W = rows(layer, kernel(layer)).double()
    wRw = torch.einsum("on,onm,om->o", W, _covariance(layer, _inputs(x)), W)
    found = _only(permutation_zero.gather(_calibration(layer, x), 0))
    assert torch.allclose(found, wRw, rtol=1e-5)


def test_a_filter_of_one_weight_cannot_be_shuffled() -> None:
    layer = nn.Conv2d(4, 4, 1, groups=4)
    calibration = _calibration(layer, torch.rand(2, 4, 5, 5))
    zeroed = _only(permutation_zero.gather(calibration, 0))
    expected = _only(permutation_expected.gather(calibration, 0))
    assert bool((expected <= 1e-6 * zeroed).all())
    assert not _only(permutation.gather(calibration, 0)).any()


def test_shuffling_keeps_each_filters_weights_and_reaches_every_order() -> None:
    W = torch.arange(3.0).repeat(6000, 1)
    W[::2] += 10
    shuffled = permutation.shuffled(W, permutation.generator("layer", 0, 0))
    assert torch.equal(shuffled.sort(1).values, W)
    orders, counts = (shuffled % 10).unique(dim=0, return_counts=True)
    assert len(orders) == 6
    assert int(counts.min()) > 900  # of 1000; this draw is always the same


def test_fresh_weights_are_drawn_as_for_a_new_layer() -> None:
    layer, x = nn.Conv2d(3, 4, 3), torch.rand(2, 3, 8, 8)
    nn.init.zeros_(layer.weight)
    found = _only(permutation_reinit.gather(_calibration(layer, x), 0))
    R = _covariance(layer, _inputs(x))
    expected = R.diagonal(dim1=1, dim2=2).sum(1) / (3 * 27)  # E[w'ᵀRw'], variance bound²/3
    assert float(found.mean()) == pytest.approx(float(expected.mean()), rel=0.5)


@EVERY
def test_fresh_weights_take_the_place_of_the_trained(kind: str) -> None:
    """D = (W − W')ᵀ R (W − W'), W' from the draw of this layer and seed."""
    layer, x = layers.make(kind)
    W = rows(layer, kernel(layer))
    drawn = torch.rand(W.shape, generator=permutation.generator("0", 7, 0), dtype=W.dtype)
    bound = W.shape[1] ** -0.5
    change = (W - torch.lerp(torch.tensor(-bound), torch.tensor(bound), drawn)).double()
    expected = torch.einsum("oi,oij,oj->o", change, _covariance(layer, _inputs(x)), change)
    found = _only(permutation_reinit.gather(_calibration(layer, x), 7))
    assert torch.allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("form", [permutation, permutation_shuffles, permutation_reinit])
def test_draws_depend_on_the_seed_alone(form: object) -> None:
    layer, x = layers.make("plain")

    def found(seed: int) -> Tensor:
        return _only(form.gather(_calibration(layer, x), seed))  # type: ignore[attr-defined]

    assert torch.equal(found(1), found(1))
    assert not torch.allclose(found(1), found(2), rtol=0.01)


def test_more_shuffles_come_closer_to_the_expectation() -> None:
    layer, x = layers.make("plain")
    calibration = _calibration(layer, x)
    expected = _only(permutation_expected.gather(calibration, 0))

    def error(form: object) -> float:
        found = [_only(form.gather(calibration, seed)) for seed in range(8)]  # type: ignore[attr-defined]
        return float(((torch.stack(found) - expected) ** 2).mean())

    assert error(permutation_shuffles) < 0.4 * error(permutation)
