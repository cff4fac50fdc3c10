"""Probabilities from a real model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from device import bundle
from device.classifier import Classifier, Scores, softmax
from device.errors import BadInputError, NonFiniteError
from tests import bundles
from tests.scenes import BLUE, GREEN, RED

GREY = (128, 128, 128)


@pytest.mark.parametrize(
    ("colour", "label"), [(RED, "red"), (GREEN, "green"), (BLUE, "blue"), (GREY, "background")]
)
def test_names_the_colour(classifier: Path, colour: tuple[int, int, int], label: str) -> None:
    picture = np.full((50, 90, 3), colour, np.uint8)

    scores = Classifier(bundle.load(classifier))(picture)

    best = scores.top(1)[0]
    assert best.label == label and best.confidence > 0.7
    assert scores.milliseconds > 0
    np.testing.assert_allclose(scores.probabilities.sum(), 1)


def test_probabilities_are_the_softmax_of_the_logits(classifier: Path) -> None:
    picture = np.full((32, 32, 3), (0, 51, 255), np.uint8)  # g = 0.2, r = 1, mean 0.4
    logits = np.array([20, 4, 0, 20 * (0.4 + 0.1)])

    scores = Classifier(bundle.load(classifier))(picture)

    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(scores.probabilities, expected, atol=1e-5)


def test_temperature_doubts_without_changing_the_order(classifier: Path) -> None:
    image = np.full((32, 32, 3), (0, 120, 200), np.uint8)
    sure = Classifier(bundle.load(classifier))(image)
    bundles.rewrite_manifest(classifier, temperature=4.0)
    doubting = Classifier(bundle.load(classifier))(image)
    assert [g.label for g in doubting.top(4)] == [g.label for g in sure.top(4)]
    expected = sure.probabilities**0.25
    np.testing.assert_allclose(doubting.probabilities, expected / expected.sum(), rtol=1e-6)


def test_top_is_ordered_and_no_longer_than_the_labels() -> None:
    scores = Scores(("a", "b", "c"), np.array([0.2, 0.5, 0.3]), 1.0)

    assert [guess.label for guess in scores.top(2)] == ["b", "c"]
    assert [guess.confidence for guess in scores.top(9)] == [0.5, 0.3, 0.2]


@given(arrays(np.float32, st.integers(1, 20), elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_softmax_never_overflows(logits: np.ndarray) -> None:  # type: ignore[type-arg]
    probabilities = softmax(logits)

    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all() and (probabilities <= 1).all()
    np.testing.assert_allclose(probabilities.sum(), 1)
    assert probabilities[logits.argmax()] == probabilities.max()


def test_bundle_for_another_task_is_refused(enhancer: Path) -> None:
    with pytest.raises(BadInputError, match="to enhance, not to classify"):
        Classifier(bundle.load(enhancer))


class Fragile(nn.Module):
    """Colours as a share of the light: 0/0 for a black picture."""

    def forward(self, image: Tensor) -> Tensor:
        mean = image.mean((1, 2))
        return torch.cat((mean, 0 * mean[:, :1]), -1) / mean.sum(-1, keepdim=True)


def test_nan_at_run_time_is_an_error_of_its_own(tmp_path: Path) -> None:
    fragile = Classifier(bundle.load(bundles.make_classifier(tmp_path / "x", net=Fragile())))

    assert fragile(np.full((8, 8, 3), 255, np.uint8)).top(1)[0].confidence > 0
    with pytest.raises(NonFiniteError):
        fragile(np.zeros((8, 8, 3), np.uint8))


class Inverse(nn.Module):
    """1 / the mean of the picture, and huge multiples of it: infinite for a black one."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 1e38, -1e38, 0.0]))

    def forward(self, image: Tensor) -> Tensor:
        return self.scale / image.mean((1, 2, 3))[:, None]


def test_infinity_is_such_an_error_and_huge_numbers_are_not(tmp_path: Path) -> None:
    inverse = Classifier(bundle.load(bundles.make_classifier(tmp_path / "x", net=Inverse())))

    assert inverse(np.full((8, 8, 3), 255, np.uint8)).top(1)[0].confidence == 1
    with pytest.raises(NonFiniteError):
        inverse(np.zeros((8, 8, 3), np.uint8))
