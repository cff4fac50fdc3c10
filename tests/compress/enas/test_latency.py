"""The table of operators: what it holds, how it is read, and that it is measured once."""

from pathlib import Path

import pytest

from compress.enas import latency
from compress.enas.cost import Geometry, Operator, Relative
from compress.enas.latency import Grid, Table
from models.enas import Enas
from tests.compress.enas import children


def _grid(operator: Operator) -> Grid:
    """Two milliseconds per million multiply-accumulates, and one per pool."""

    def ms(inputs: int, outputs: int) -> float:
        return 1.0 + 2e-6 * operator._replace(inputs=inputs, outputs=outputs).macs

    inputs, outputs = (2, operator.inputs), (2, operator.outputs)
    pool = operator.kind in ("avg", "max", "stem", "answer")
    return Grid(
        kind=operator.kind,
        size=operator.size,
        stride=operator.stride,
        inputs=inputs,
        outputs=outputs[1:] if pool else outputs,
        ms=tuple(tuple(ms(i, o) for o in (outputs[1:] if pool else outputs)) for i in inputs),
    )


def test_times_between_the_points_are_interpolated_both_ways() -> None:
    grid = Grid(
        kind="point",
        size=8,
        stride=1,
        inputs=(2, 4, 8),
        outputs=(2, 8),
        ms=((1.0, 3.0), (2.0, 4.0), (6.0, 12.0)),
    )
    assert grid.at(2, 2) == 1.0
    assert grid.at(6, 2) == 4.0
    assert grid.at(6, 5) == 6.0  # half-way between 4 and 8
    assert grid.at(1, 99) == 3.0  # flat beyond the ends


def test_every_operator_of_every_child_has_a_price() -> None:
    geometry = Geometry.of(Enas(10, 4, 3, 3), 16)
    table = Table(
        machine="none", runtime="none", grids=tuple(map(_grid, latency.largest(geometry)))
    )
    cost = Relative.of(geometry, table.price)
    ratios = []
    for seed in range(6):
        child = children.drawn(seed, 3, (0.0,))
        ratios.append(cost.ratio(child, geometry.whole()))
        spent = sum(1 + 2e-6 * one.macs for one in geometry.operators(child, geometry.whole()))
        assert ratios[-1] == pytest.approx(16 * (1 - spent / cost.dearest))
    assert len(set(ratios)) == 6
    with pytest.raises(KeyError):
        table.price(Operator("point", 64, 1, 4, 4))


def test_an_operator_is_timed_through_tflite_once(tmp_path: Path) -> None:
    said: list[str] = []
    wanted = [Operator("stack3", 8, 2, 2, 2), Operator("max", 8, 1, 2, 2)]
    made = latency.stored(wanted, tmp_path, said.append)
    assert all(0 < grid.ms[0][0] < 100 for grid in made.grids)
    assert [grid.kind for grid in made.grids] == ["stack3", "max"]
    assert latency.stored(wanted, tmp_path, said.append) == made
    assert len(said) == 3
    assert said[1:] == [
        "latency: 1 of 2: stack3, 8 × 8, stride 2",
        "latency: 2 of 2: max, 8 × 8, stride 1",
    ]


def test_points_run_in_turns_and_the_least_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour that wakes in the second round makes both points slower, and neither dearer."""
    now, order = [0.0], [""]

    class Invoked:
        def __init__(self, operator: Operator) -> None:
            self._operator, self._runs = operator, 0

        def invoke(self) -> None:
            order.append(self._operator.kind)
            self._runs += 1
            now[0] += 1e-3 * self._operator.inputs * (5 if self._runs > latency.RUNS else 1)

    monkeypatch.setattr(latency, "_alone", Invoked)
    monkeypatch.setattr(latency, "perf_counter", lambda: now[0])
    wanted = [Operator("max", 8, 1, 2, 2), Operator("avg", 8, 1, 3, 3)]
    assert latency.measured(wanted) == pytest.approx([2.0, 3.0])
    assert order[1 :: latency.RUNS] == ["max", "avg"] * latency.ROUNDS


def test_an_interrupted_table_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [Operator("max", 8, 1, 2, 2), Operator("avg", 8, 1, 2, 2)]
    whole, timed = latency._grid, []

    def interrupted(operator: Operator) -> latency.Grid:
        timed.append(operator.kind)
        if timed == ["max", "avg"]:
            raise KeyboardInterrupt
        return whole(operator)

    monkeypatch.setattr(latency, "_grid", interrupted)
    with pytest.raises(KeyboardInterrupt):
        latency.stored(wanted, tmp_path, lambda _: None)
    made = latency.stored(wanted, tmp_path, lambda _: None)
    assert [grid.kind for grid in made.grids] == ["max", "avg"]
    assert timed == ["max", "avg", "avg"]
