"""The report's figures as inline SVG."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation
from pydantic import TypeAdapter

from compress.figures import Figure as Curves
from compress.netadapt import Iteration
from compress.store import Record

if TYPE_CHECKING:
    from compress.report import Report

Point = tuple[float, float]  # multiply-accumulates, score
INK, BEFORE, AFTER, MUTED = "#243447", "#c2703d", "#2f6f73", "#c9d1d9"
PALETTE = (AFTER, BEFORE, "#6c5b94", "#8a9a3c", "#b3382c", "#4c86c6", INK, "#a8762b")
# what tells curves of one colour apart; dashes in line widths
DASHES = ("-", "--", ":", "-.", (0, (9, 2)), (0, (5, 1, 1, 1, 1, 1)))
MARKERS = "os^Dvx"
LEGEND = 12  # curves whose names have room inside the axes
LINE = 0.14  # height of one, inches
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#edf0f2",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "fieldwren",
}


def pareto(report: Report) -> str:
    """Score against cost: stages and what they tried on validation by MACs, bundles on the final
    split by latency."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 3.4))
        left, right = figure.subplots(1, 2)
        candidates(left, report.stages)
        primary = report.result.quality.primary
        for packed, colour in ((report.baseline, BEFORE), (report.result, AFTER)):
            cost = packed.manifest.result
            right.scatter(cost.latency.p50_ms, packed.quality.value, s=60, color=colour, zorder=2)
            right.annotate(
                f" {packed.manifest.name}\n {cost.bytes / 1e6:.2f} MB",
                (cost.latency.p50_ms, packed.quality.value),
                textcoords="offset points",
                xytext=(6, -10),
            )
        right.set_xlim(0, 1.6 * report.baseline.manifest.result.latency.p50_ms)
        right.margins(y=0.4)
        _label(right, "latency p50, ms", f"{primary}, {report.split}", "bundles")
        return _svg(figure)


def candidates(axes: Axes, records: Sequence[Record]) -> None:
    """Stages joined in their order, what they tried beside them, and the front of all of these."""
    kinds = [record.kind for record in records]
    stages = records[kinds.index("baseline") :]  # what a search found is not trained yet
    points = [(record.macs, record.validation[record.primary]) for record in stages]
    macs = [x / 1e6 for x, _ in points]
    scores = [y for _, y in points]
    axes.plot(macs, scores, color=MUTED, zorder=1)
    beside = [point for record in stages for point in tried(record)]
    if beside:
        xs, ys = [x / 1e6 for x, _ in beside], [y for _, y in beside]
        axes.scatter(xs, ys, s=12, color=PALETTE[2], zorder=2, label="tried")
    best = front([*points, *beside])
    axes.plot(
        [x / 1e6 for x, _ in best],
        [y for _, y in best],
        color=AFTER,
        linestyle="--",
        drawstyle="steps-post",  # more work than a point of it buys at least that point's score
        label="front",
    )
    last = len(stages) - 1
    colours = [BEFORE if i == 0 else AFTER if i == last else INK for i in range(last + 1)]
    axes.scatter(macs, scores, c=colours, zorder=3)
    for record, x, y in zip(stages, macs, scores, strict=True):
        axes.annotate(f" {record.kind}", (x, y), textcoords="offset points", xytext=(5, 5))
    _label(axes, "M multiply-accumulates", f"{stages[0].primary}, validation", "stages")
    axes.legend(frameon=False, fontsize=7)
    axes.margins(x=0.25, y=0.15)


def tried(record: Record) -> list[Point]:
    """Candidates that a stage has scored on the way: CICR's probes, NetAdapt's iterations."""
    found: list[Point] = [(probe.macs, probe.score) for probe in record.probes]
    if record.kind == "netadapt" and isinstance(record.structure, dict):
        log = TypeAdapter(list[Iteration]).validate_python(record.structure["iterations"])
        found += [(one.macs, one.score) for one in log if one.macs is not None]
    return found


def front(points: Iterable[Point]) -> list[Point]:
    """Those points of which none other has a better score for no more cost; cost rising."""
    best: list[Point] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or score > best[-1][1]:
            best.append((cost, score))
    return best


def curves(stages: Sequence[Record]) -> str:
    """Loss and primary score of every epoch, stage after stage."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 3.0))
        left, right = figure.subplots(1, 2)
        start = 0
        colours = iter((BEFORE, AFTER, INK) * len(stages))
        for record in stages:
            if not record.log:
                continue
            colour = next(colours)
            epochs = [start + entry.epoch for entry in record.log]
            marker = "o" if len(epochs) == 1 else None
            label = record.kind
            left.plot(epochs, [e.loss for e in record.log], color=colour, marker=marker)
            scores = [e.scores[record.primary] for e in record.log]
            right.plot(epochs, scores, color=colour, marker=marker, label=label)
            start = epochs[-1]
        _label(left, "epoch", "training loss", "loss")
        _label(right, "epoch", f"{stages[0].primary}, validation", "score")
        right.legend(frameon=False)
        return _svg(figure)


def channels(stages: Sequence[Record]) -> str:
    """Channels kept of every group, one bar each; empty without a pruning stage."""
    plans = [record.plan for record in stages if record.plan is not None]
    if not plans:
        return ""
    cuts = [cut for plan in plans for cut in reversed(plan.cuts)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 0.6 + 0.2 * len(cuts)))
        axes = figure.subplots()
        places = range(len(cuts))
        axes.barh(places, [cut.channels for cut in cuts], color=MUTED, height=0.7)
        axes.barh(places, [cut.kept for cut in cuts], color=AFTER, height=0.7)
        axes.set_yticks(places, [cut.layer for cut in cuts], fontsize=7)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        for place, cut in zip(places, cuts, strict=True):
            text = f" {cut.kept} of {cut.channels}"
            axes.text(cut.channels, place, text, va="center", fontsize=7)
        _label(axes, "channels kept (dark) of those there were", "", "")
        return _svg(figure)


def figures(found: Sequence[Curves]) -> str:
    """What stages found out, two figures a row."""
    beside = min(2, len(found))
    width = 9.5 / beside - 0.8  # of axes, inches
    lines = [-(-len(one.series) // _columns(one, width)) * _outside(one) for one in found]
    heights = [3.2 + LINE * max(lines[i : i + beside]) for i in range(0, len(found), beside)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, sum(heights)))
        grid = figure.add_gridspec(len(heights), beside, height_ratios=heights)
        for index, one in enumerate(found):
            axes = figure.add_subplot(grid[divmod(index, beside)])
            _draw(axes, one)
            _label(axes, one.x, one.y, one.title)
            if _outside(one):
                below = ScaledTranslation(0, -0.5, figure.dpi_scale_trans)  # the axis's label
                axes.legend(
                    loc="upper left",
                    bbox_to_anchor=(0, 0),
                    bbox_transform=axes.transAxes + below,
                    borderaxespad=0,
                    ncols=_columns(one, width),
                    columnspacing=1,
                    handlelength=3,  # shows every dash
                    fontsize=6,
                    frameon=False,
                )
            elif len(one.series) > 1:
                axes.legend(frameon=False, fontsize=7)
        return _svg(figure)


def _draw(axes: Axes, one: Curves) -> None:
    for index, series in enumerate(one.series):
        kind = index // len(PALETTE) % len(DASHES)
        look: dict[str, Any] = {"linestyle": DASHES[kind], "linewidth": 1.2}
        if one.kind == "marks":
            look = {"linestyle": "none", "marker": MARKERS[kind], "markersize": 4}
        colour = PALETTE[index % len(PALETTE)]
        axes.plot(series.x, series.y, label=series.name, color=colour, **look)


def _outside(one: Curves) -> bool:
    """Whether the names of the curves stand below the axes."""
    return len(one.series) > LEGEND


def _columns(one: Curves, width: float) -> int:
    """Columns of names that fit below axes of this width in inches."""
    longest = max(len(series.name) for series in one.series)
    return max(1, int(width / (0.5 + 0.05 * longest)))


def _label(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, loc="left", fontsize=9, fontweight="bold")


def _svg(figure: Figure) -> str:
    figure.tight_layout()
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    content = text.getvalue()
    return content[content.index("<svg") :]
