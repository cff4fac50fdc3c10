"""Accuracy is that of the device, also where two labels have the same eight bits."""

import numpy as np

from compress.accuracy import NAMES, quality, top
from compress.images import Photos
from device.classifier import Scores

LABELS = 40  # numpy's fast sort leaves equal ones in order in short rows


def test_equal_answers_are_ranked_as_on_the_device() -> None:
    logits = np.random.default_rng(0).integers(0, 3, (64, LABELS)).astype(np.float32)
    names = tuple(map(str, range(LABELS)))
    for k in (1, 5):
        shown = [[int(guess.label) for guess in Scores(names, row, 0.0).top(k)] for row in logits]
        last = np.array([labels[-1] for labels in shown])
        assert top(logits, last, k) == 100.0
        assert top(logits, last, k - 1) == 0.0


def test_scores_are_named_before_there_are_any() -> None:
    photos = Photos((), np.array([0, 1]), "")
    found = quality({"all": photos}, {"all": np.eye(2, dtype=np.float32)})
    assert tuple(found.scores) == NAMES
