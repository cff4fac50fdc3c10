"""Latency of a model, and what else the machine did meanwhile."""

from pathlib import Path

import numpy as np
import pytest

from compress import busy, measure
from compress.recipe import Measure
from device import bundle

OPTIONS = Measure(runs=3, warmup=0)


@pytest.mark.parametrize(("others", "told"), [(0.91, True), (0.01, False)])
def test_other_work_is_told_and_kept_with_the_figure(
    classifier: Path,
    others: float,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(busy.Attention, "others", lambda _: others)
    (spec,) = bundle.load(classifier).bundle.manifest.inputs
    inputs = [{spec.key: np.zeros(spec.shape, np.float32)}]
    found = measure.latency(classifier / bundle.MODEL, inputs, OPTIONS)
    assert found.others == others
    assert ("for 91 % of the time the processor did other work" in capsys.readouterr().out) == told
