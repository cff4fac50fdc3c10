"""Figures of stages as SVG."""

from compress import plots
from compress.figures import Figure, Series


def test_every_curve_is_drawn_and_named() -> None:
    curves = tuple(Series(name=name, x=(0, 1, 2), y=(3, 1, y)) for name, y in (("a", 2), ("b", 5)))
    figure = Figure(title="sensitivity", x="share removed", y="loss", series=curves)
    drawn = plots.figures((figure, figure.model_copy(update={"title": "marks", "kind": "marks"})))
    for text in ("sensitivity", "marks", "share removed", ">a<", ">b<"):
        assert text in drawn
