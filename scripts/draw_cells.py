"""Draw a searched architecture: both cells, every edge with its operation and pruning ratio.

python scripts/draw_cells.py OUT/stages/00-enas/architecture.json cells.svg
"""

import io
import sys
from pathlib import Path
from typing import Annotated

import matplotlib
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import ValidationError

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress.plots import AFTER, BEFORE, INK, MUTED, STYLE
from device import errors, files
from models.enas import INPUTS, Architecture, Plan

BEND = 0.25  # of the arrows, so that two edges between the same states stay apart
cli = typer.Typer(add_completion=False, help=__doc__)


@cli.command()
def main(
    architecture: Annotated[Path, typer.Argument(help="a search's architecture.json")],
    target: Annotated[Path, typer.Argument(help="the SVG file to write")],
) -> None:
    """Draw the file's cells."""
    try:
        found = Architecture.model_validate_json(architecture.read_bytes())
    except OSError as error:
        raise errors.BadInputError(f"{architecture}: {error.strerror}") from error
    except ValidationError as error:
        problem = errors.first_problem(error)
        raise errors.BadInputError(f"{architecture}: not an architecture: {problem}") from error
    files.write_bytes(target, drawing(found).encode())


def drawing(architecture: Architecture) -> str:
    """SVG of both cells."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 7.5))
        for axes, plan, title in zip(
            figure.subplots(2, 1),
            architecture.plans,
            ("normal cell", "reduction cell"),
            strict=True,
        ):
            _cell(axes, plan)
            axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _cell(axes: Axes, plan: Plan) -> None:
    """States from left to right by the longest path to them; loose ones are filled."""
    places = _places(plan)
    for node, _, edge in plan.edges:
        start, end = places[edge.input], places[INPUTS + node]
        left = edge is plan.nodes[node].left
        axes.annotate(
            "",
            xy=end,
            xytext=start,
            arrowprops={
                "arrowstyle": "-|>",
                "color": MUTED if edge.operation == "identity" else INK,
                "shrinkA": 14,
                "shrinkB": 14,
                "connectionstyle": f"arc3,rad={BEND if left else -BEND}",
            },
        )
        side = 1 if left else -1
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        dx, dy = end[0] - start[0], end[1] - start[1]
        axes.text(
            x + side * BEND * dy / 2,
            y - side * BEND * dx / 2,
            f"{edge.operation} −{edge.ratio:.0%}" if edge.ratio else edge.operation,
            fontsize=7,
            ha="center",
            va="center",
            bbox={"color": "white", "pad": 0.6},
        )
    for state, (x, y) in enumerate(places):
        colour = BEFORE if state < INPUTS else AFTER
        whole = state in plan.loose
        axes.plot(x, y, "o", ms=22, mec=colour, mfc=colour if whole else "white", zorder=3)
        label = str(state)
        if state < INPUTS and plan.ratios[state]:
            label += f"\n−{plan.ratios[state]:.0%}"
        ink = "white" if whole else INK
        axes.text(x, y, label, ha="center", va="center", fontsize=7, color=ink, zorder=4)
    axes.set_axis_off()
    axes.set_aspect("equal")  # the arrows bend in the picture's units, labels follow them
    axes.margins(0.08, 0.2)


def _places(plan: Plan) -> list[tuple[float, float]]:
    """Where each state is drawn."""
    depth = [0] * INPUTS
    for node in plan.nodes:
        depth.append(1 + max(depth[edge.input] for edge in node.edges))
    places = []
    for state, column in enumerate(depth):
        row = depth[:state].count(column)
        places.append((2.0 * column, 1.5 * (row - (depth.count(column) - 1) / 2)))
    return places


if __name__ == "__main__":
    errors.run(cli)
