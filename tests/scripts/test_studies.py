"""What studies share."""

import pytest

from device.errors import BadInputError
from scripts import studies


def test_parts_share_out_every_cell_once() -> None:
    cells = list(range(7))
    parts = [studies.share(cells, f"{i}/3") for i in range(3)]
    assert sorted(cell for part in parts for cell in part) == cells
    assert studies.share(cells, "0/1") == cells
    assert studies.share(cells, "0/0") == []


@pytest.mark.parametrize("part", ["2", "a/b", "2/2", "-1/2", "1/0"])
def test_says_what_a_part_is(part: str) -> None:
    with pytest.raises(BadInputError, match="expected I/N"):
        studies.share([1], part)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"criterion": "l1"}, "uniform: steps: "),
        ({"kind": "prun"}, "uniform: steps: .*prune"),
        ({"kind": "prune", "criterion": "l3"}, "uniform: steps: .*criterion"),
    ],
)
def test_says_what_is_wrong_with_a_step(table: dict[str, str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        studies.step("uniform", table, {"macs": 0.5})


def test_a_budget_reaches_the_steps_that_take_one() -> None:
    assert studies.step("a", {"kind": "prune", "criterion": "l1"}, {"macs": 0.5}).macs == 0.5  # type: ignore[union-attr]
    studies.step("a", {"kind": "fake-prune"}, {"macs": 0.5})
