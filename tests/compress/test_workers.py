"""Independent evaluations in this process: order, errors and random numbers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from compress import distributed
from compress.__main__ import run_recipe
from compress.workers import InProcess, Workers, environment
from device.errors import BadInputError


def draw(item: int) -> tuple[int, float]:
    """Its item, and a random number that nobody seeded."""
    return item, float(torch.rand(()))


def test_results_come_in_order_and_from_the_same_random_state() -> None:
    workers: Workers = InProcess()
    results = list(workers.map(draw, range(4)))
    assert [item for item, _ in results] == [0, 1, 2, 3]
    assert len({number for _, number in results}) == 1


def test_the_callers_random_numbers_stay_as_they_were() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = torch.rand(1)
    list(InProcess().map(draw, range(3)))
    assert torch.equal(torch.cat([first, torch.rand(2)]), expected)


def test_all_items_are_read_before_the_first_call() -> None:
    read = []

    def items() -> Iterator[int]:
        for item in range(3):
            read.append(item)
            yield item

    results = InProcess().map(draw, items())
    assert read == [0, 1, 2]
    assert len(list(results)) == 3


def test_an_error_takes_the_place_of_its_result() -> None:
    def second_fails(item: int) -> int:
        if item == 1:
            raise BadInputError("item 1: not usable")
        return item

    results = InProcess().map(second_fails, range(3))
    assert next(results) == 0
    with pytest.raises(BadInputError, match="item 1: not usable"):
        next(results)


def test_a_shared_value_is_read_where_it_is_needed() -> None:
    weights = InProcess().share({"weight": 3})
    assert [*InProcess().map(lambda item: item * weights.get()["weight"], (1, 2))] == [3, 6]


@pytest.mark.parametrize(("devices", "other"), [(2, "--devices"), (1, "torchrun")])
def test_a_cluster_and_several_processes_exclude_each_other(
    devices: int, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if other == "torchrun":
        monkeypatch.setenv(distributed.TORCHRUN, "none")
    with pytest.raises(BadInputError, match=f"--ray: a task is one process: .* without {other}"):
        run_recipe("birds-quick", tmp_path, tmp_path, ray="local", devices=devices)


def test_workers_of_an_own_cluster_are_as_urgent_as_what_they_work_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for address, niceness in ((environment.LOCAL, "0"), ("192.0.2.1:6379", None)):
        given: dict[str, str] = {}
        monkeypatch.setattr(environment.os, "environ", given)
        environment.prepare(address)
        assert given.get("RAY_worker_niceness") == niceness
