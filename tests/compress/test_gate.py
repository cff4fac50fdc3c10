"""The gate: a result may lose little, and must be good for something."""

import pytest

from compress.pack import Packed
from compress.recipe import Gate, Recipe
from compress.report import Report
from compress.task import Quality


def judged(before: float, after: float, gate: Gate) -> str | None:
    baseline, result = (
        Packed.model_construct(quality=Quality("si_sdr", {"si_sdr": value}))
        for value in (before, after)
    )
    recipe = Recipe.model_construct(gate=gate)
    return Report.model_construct(recipe=recipe, baseline=baseline, result=result).missed


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (11.0, 10.5, None),
        (11.0, 10.0, None),
        (11.0, 9.9, "fell by 1.10, from 11.00 to 9.90, allowed is 1"),
        (6.5, 5.8, "si_sdr is 5.80, wanted is 6"),
    ],
)
def test_gate(before: float, after: float, reason: str | None) -> None:
    found = judged(before, after, Gate(max_drop=1.0, min_score=6.0))
    assert found is None if reason is None else reason in str(found)


def test_without_a_least_score_only_the_drop_counts() -> None:
    assert judged(0.5, 0.1, Gate(max_drop=1.0)) is None
    assert "fell by" in str(judged(9.0, 7.0, Gate(max_drop=1.0)))
