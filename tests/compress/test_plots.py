"""Figures of stages as SVG."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
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


def _many(count: int, kind: str) -> Figure:
    series = tuple(
        Series(name=f"blocks.{i}.second.conv", x=(0, 50, 100), y=(i, i + 1, 2 * i))
        for i in range(count)
    )
    return Figure.model_validate(
        {"title": "many", "x": "channels, %", "y": "E", "series": series, "kind": kind}
    )


@pytest.mark.parametrize("kind", ["line", "marks"])
@pytest.mark.parametrize("count", [13, 48])
def test_every_of_many_curves_is_named_and_looks_different(
    count: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(plots, "_svg", lambda canvas: drawn.append(canvas) or "")
    plots.figures((_many(count, kind), _many(3, kind)))
    canvas = drawn[0]
    canvas.tight_layout()
    drawing = FigureCanvasAgg(canvas)
    drawing.draw()  # labels find their places
    many, few = canvas.axes
    looks = {(line.get_color(), str(line._dash_pattern), line.get_marker()) for line in many.lines}
    assert len(looks) == count
    renderer = drawing.get_renderer()
    names, box = many.get_legend(), many.get_window_extent()
    assert [text.get_text() for text in names.get_texts()] == [
        f"blocks.{i}.second.conv" for i in range(count)
    ]
    area = names.get_window_extent(renderer)
    under = many.xaxis.label.get_window_extent(renderer)
    assert area.y0 >= 0 and area.y1 <= under.y0 and area.x1 <= few.get_window_extent().x0
    assert box.height > 100  # the names do not press the curves flat: 1 inch and more
    inside = few.get_legend().get_window_extent(renderer)
    assert few.get_window_extent().contains(inside.x0, inside.y0)


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
