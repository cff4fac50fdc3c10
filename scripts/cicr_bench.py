"""Bisection (CICR) against a grid of the same resolution: the same answer, and at what cost?

    python scripts/cicr_bench.py RECIPE --data DIR --out DIR

RECIPE has a step of kind "cicr". Its baseline is trained (or taken from benchmarks/baselines/),
the search is run as the recipe says, then every other rate of the grid is probed in the same way:
prune, fine-tune, evaluate. Probes that are finished are not made again, unless the baseline or the
fine-tuning was changed.

A grid takes the smallest rate that is acceptable; where the curve of the scores is not monotonic
the two may differ, so the table has the grid's answer and the bisection's, with their costs.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import advance, cicr, store
from compress.figures import Figure, Series
from compress.plots import figures
from compress.stages import Context
from compress.stages.cicr import Probes
from compress.steps import Cicr
from device import errors, files
from device.manifest import Frozen
from scripts import baselines

COLUMNS = ("probes", "trained", "seconds", "answer: rate", "M MACs", "validation")
cli = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


class Point(Frozen):
    """One rate and what its candidate scored."""

    cr: float
    score: float
    macs: int
    seconds: float  # 0 for a plan that a smaller rate has already given


class Result(Frozen):
    """OUT/result.json."""

    recipe: str
    seed: int
    original: float  # validation score of the baseline
    threshold: float
    bisection: tuple[cicr.Probe, ...]
    grid: tuple[Point, ...]


@cli.command()
def main(
    recipe: str,
    data: Annotated[Path, typer.Option(help="data folder of the recipe")],
    out: Annotated[Path, typer.Option(help="results; finished probes there are kept")],
    seed: int = 0,
) -> None:
    """Bisect, then probe the whole grid."""
    start = baselines.start(recipe, data, out, seed)
    step = next((step for step in start.recipe.steps if isinstance(step, Cicr)), None)
    if step is None:
        raise errors.BadInputError(f'{recipe}: no step of kind "cicr" in it')
    place = store.Place(
        out / f"probes-seed{seed}", advance.key(step.finetune, start.place.key)
    )  # a probe's own key is of its plan only
    if not (place.folder / store.KEY).is_file() and place.folder.is_dir():
        files.write_bytes(place.folder / store.KEY, place.key.encode())  # older: not known
    place.begin()
    context = Context(start.task, seed, start.example, start.net, place.checkpoint)
    probes = Probes(context, start.net, step)
    original = start.task.evaluate(start.net, "validation").value
    threshold = original - step.acc_loss
    result = Result(
        recipe=start.recipe.name,
        seed=seed,
        original=original,
        threshold=threshold,
        bisection=probes.search(threshold).probes,
        grid=tuple(grid(probes, rates(step.interval))),
    )
    files.write_bytes(out / "result.json", result.model_dump_json(indent=1).encode())
    files.write_bytes(out / "scores.svg", figures((figure(result),)).encode())
    print(table(result))


def rates(interval: float) -> list[float]:
    """The rates that a bisection of [0, 1] may ask for, but 1: k / 2^n, no further apart."""
    count = 1
    while 1 / count > interval:
        count *= 2
    return [k / count for k in range(1, count)]


def grid(probes: Probes, rates: list[float]) -> Iterator[Point]:
    """Every rate's candidate; the time of one that several rates share counts once."""
    told = list[cicr.Candidate]()
    for rate in rates:
        candidate = probes.probe(rate)
        print(f"cr {rate:.4f}: {candidate.score:.2f}, {candidate.macs / 1e6:.2f} M MACs")
        again = candidate in told
        told.append(candidate)
        yield Point(
            cr=rate,
            score=candidate.score,
            macs=candidate.macs,
            seconds=0.0 if again else candidate.seconds,
        )


def table(result: Result) -> str:
    """Answers and costs, Markdown."""
    accepted = [point for point in result.grid if point.score >= result.threshold]
    asked = [probe for probe in result.bisection if probe.accepted]
    return "\n".join(
        (
            f"| | {' | '.join(COLUMNS)} |",
            "|---|" + "---|" * len(COLUMNS),
            _line(
                "bisection", min(asked, key=lambda probe: probe.cr, default=None), result.bisection
            ),
            _line("grid", accepted[0] if accepted else None, result.grid),
        )
    )


def _line(
    name: str, answer: Point | cicr.Probe | None, probes: Sequence[Point | cicr.Probe]
) -> str:
    seconds = [probe.seconds for probe in probes if probe.seconds > 0]
    cells = [name, str(len(probes)), str(len(seconds)), f"{sum(seconds):.0f}"]
    if answer is None:
        cells += ["none", "–", "–"]
    else:
        cells += [f"{answer.cr:.4f}", f"{answer.macs / 1e6:.2f}", f"{answer.score:.2f}"]
    return f"| {' | '.join(cells)} |"


def figure(result: Result) -> Figure:
    """Scores over the rate."""
    rates = [point.cr for point in result.grid]
    return Figure(
        title=f"{result.recipe}: candidates of one rate, seed {result.seed}",
        x="cumulative information contribution rate",
        y="score on validation after the short training",
        series=(
            Series(name="grid", x=tuple(rates), y=tuple(p.score for p in result.grid)),
            Series(name="threshold", x=(0.0, 1.0), y=(result.threshold, result.threshold)),
            Series(
                name="asked by the bisection",
                x=tuple(sorted(p.cr for p in result.bisection)),
                y=tuple(p.score for p in sorted(result.bisection, key=lambda p: p.cr)),
            ),
        ),
    )


if __name__ == "__main__":
    errors.run(cli)
