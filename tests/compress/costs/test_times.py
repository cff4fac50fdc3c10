"""What is measured once stays so over an interruption."""

from pathlib import Path

import numpy as np
import pytest

from compress.costs import COSTS, Subject, milliseconds, table
from compress.costs.times import Times
from compress.prune import Plan
from tests.compress import graphs
from tests.compress.costs.test_costs import X, _deploy, _groups


def test_values_come_back_in_order_and_new_ones_follow(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    first = Times(path)
    assert first(lambda: np.array(0.1)) == 0.1
    assert first(lambda: np.array([[1.0, 2.0], [3.0, 4.5]])).shape == (2, 2)
    again = Times(path)
    assert again(lambda: pytest.fail("measured again")) == 0.1
    assert again(lambda: pytest.fail("measured again")).tolist() == [[1, 2], [3, 4.5]]
    assert again(lambda: np.array(7.0)) == 7
    assert Times(None)(lambda: np.array(8.0)) == 8


def test_what_an_older_version_measured_otherwise_is_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    old = Times(path)
    for value in (1.0, 2.0, 3.0):
        old(lambda value=value: np.array(value))
    new = Times(path)
    assert new(lambda: pytest.fail("measured again")) == 1
    assert new(lambda: np.array([4.0, 5.0]), (2,)).tolist() == [4, 5]
    assert new(lambda: np.array(6.0)) == 6
    again = Times(path)
    assert again(lambda: pytest.fail("measured again")) == 1
    assert again(lambda: pytest.fail("measured again"), (2,)).tolist() == [4, 5]
    assert again(lambda: pytest.fail("measured again")) == 6


def test_a_broken_file_is_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    path.write_text("[[[2], [1.0]]]")  # one value where the shape says two
    assert Times(path)(lambda: np.array(3.0)) == 3
    assert Times(path)(lambda: pytest.fail("measured again")) == 3


def test_a_resumed_search_predicts_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second cost must not time anything: its clock stands still."""
    net = graphs.make("chain")
    subject = Subject(net, X, _groups(net), _deploy, tmp_path / "times.json")
    plans: list[Plan] = [_groups(net, share) for share in (0.0, 0.3, 0.75)]
    before = COSTS["milliseconds"](subject)
    stopped = lambda: pytest.fail("timed again")  # noqa: E731
    monkeypatch.setattr(milliseconds, "perf_counter", stopped)
    monkeypatch.setattr(table, "perf_counter", stopped)
    after = COSTS["milliseconds"](subject)
    assert [after.predicted(p) for p in plans] == [before.predicted(p) for p in plans]
