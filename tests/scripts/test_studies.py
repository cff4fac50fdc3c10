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
