"""Scores of groups as curves."""

import pytest
import torch

from compress.importance import POINTS, distribution
from compress.prune import Scored


def _scored(scores: list[float]) -> Scored:
    return Scored(layer=f"of {len(scores)}", members=("a",), scores=torch.tensor(scores))


def test_curves_are_sorted_scores_over_their_mean() -> None:
    flat, steep = distribution([_scored([3.0] * 4), _scored([0.0, 8.0, 0.0, 0.0, 2.0])]).series
    assert flat.y == (1.0,) * POINTS
    assert (steep.x[0], steep.x[-1]) == (0.0, 100.0)
    assert list(steep.y) == sorted(steep.y)
    assert (steep.y[0], steep.y[10], steep.y[15], steep.y[-1]) == pytest.approx((0, 0, 1.0, 4.0))


def test_signed_and_absent_scores_have_a_curve() -> None:
    signed, none = distribution([_scored([-1.0, 1.0]), _scored([0.0, 0.0])]).series
    assert (signed.y[0], signed.y[-1]) == (-1.0, 1.0)
    assert none.y == (0.0,) * POINTS
