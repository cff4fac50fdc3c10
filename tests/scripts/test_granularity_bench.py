"""What the bench of zeros is asked for."""

import pytest

from device.errors import BadInputError
from scripts import granularity_bench


@pytest.mark.parametrize(
    ("asked", "message"), [({"depth": 9}, "--depth: "), ({"size": 20}, "--size")]
)
def test_a_network_that_there_is_not_is_one_line(asked: dict[str, int], message: str) -> None:
    values = {"depth": 20, "width": 16, "size": 32, "rounds": 1, **asked}
    with pytest.raises(BadInputError, match=message):
        granularity_bench.main(**values)
