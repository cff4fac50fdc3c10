"""What the scripts' tests share."""

from collections.abc import Iterator

import pytest

from compress.criteria import CRITERIA


@pytest.fixture(autouse=True, scope="module")
def own_criteria() -> Iterator[None]:
    """Comparisons register torch-pruning's criteria with the process; other tests must not see."""
    before = dict(CRITERIA)
    yield
    CRITERIA.clear()
    CRITERIA.update(before)
