"""Temperature scaling against answers drawn from known probabilities."""

import numpy as np
import pytest

from compress.calibration import LIMITS, temperature


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5])
def test_the_scale_that_logits_were_spoilt_with_is_found(scale: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20_000, 5)).astype(np.float32)
    # Gumbel noise draws labels with probability softmax(logits)
    labels = (logits + random.gumbel(size=logits.shape)).argmax(1)
    assert temperature(logits * np.float32(scale), labels) == pytest.approx(scale, rel=0.03)


def test_a_classifier_that_is_always_right_ends_at_the_limit() -> None:
    logits = np.eye(3, dtype=np.float32)
    assert temperature(logits, np.arange(3)) == pytest.approx(LIMITS[0], rel=0.01)
