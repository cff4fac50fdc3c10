"""Figures of stages as SVG."""

import pytest
from matplotlib.figure import Figure as Canvas

from compress import plots
from compress.cicr import Probe
from compress.figures import Figure, Series
from compress.netadapt import Iteration
from compress.store import Record


def test_every_curve_is_drawn_and_named() -> None:
    curves = tuple(Series(name=name, x=(0, 1, 2), y=(3, 1, y)) for name, y in (("a", 2), ("b", 5)))
    figure = Figure(title="sensitivity", x="share removed", y="loss", series=curves)
    drawn = plots.figures((figure, figure.model_copy(update={"title": "marks", "kind": "marks"})))
    for text in ("sensitivity", "marks", "share removed", ">a<", ">b<"):
        assert text in drawn


def _record(kind: str, macs: int, score: float, **found: object) -> Record:
    table = {"key": "", "kind": kind, "seconds": 1, "macs": macs, "parameters": 1, **found}
    return Record.model_validate({**table, "primary": "top1", "validation": {"top1": score}})


def _iteration(score: float, macs: int | None) -> dict[str, object]:
    one = Iteration(layer="a", kept=8, cost=1.5, macs=macs, score=score, tried=3, seconds=1)
    return one.model_dump()


def test_what_stages_tried_is_drawn_with_the_front_of_all() -> None:
    probes = tuple(
        Probe(cr=0.5, attempt=0, score=s, accepted=True, macs=m, parameters=1, seconds=1)
        for m, s in ((5_000_000, 88.0), (3_000_000, 60.0))
    )
    log = [_iteration(91.0, 8_000_000), _iteration(85.0, 6_000_000), _iteration(1.0, None)]
    stages = [
        _record("enas", 1, 99),  # not trained yet: no part of it
        _record("baseline", 10_000_000, 90),
        _record("cicr", 5_000_000, 88, probes=probes),
        _record("netadapt", 6_000_000, 85, structure={"spent": {}, "iterations": log}),
    ]
    axes = Canvas().subplots()
    plots.candidates(axes, stages)
    beside, chain = axes.collections
    assert beside.get_offsets().tolist() == [[5, 88], [3, 60], [8, 91], [6, 85]]
    assert chain.get_offsets().tolist() == [[10, 90], [5, 88], [6, 85]]
    assert axes.lines[1].get_xydata().tolist() == [[3, 60], [5, 88], [8, 91]]


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(1, 5)], [(1, 5)]),
        ([(2, 5), (1, 5)], [(1, 5)]),  # the same score for more work
        ([(1, 4), (1, 5)], [(1, 5)]),
        ([(3, 1), (1, 2), (2, 7), (4, 8)], [(1, 2), (2, 7), (4, 8)]),
    ],
)
def test_nothing_on_the_front_is_beaten(
    points: list[tuple[float, float]], front: list[tuple[float, float]]
) -> None:
    assert plots.front(points) == front
