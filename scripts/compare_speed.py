"""What removed channels gain through TFLite: latency of a study's networks against its baseline.

    python scripts/compare_speed.py STUDY --data DIR --out DIR [--threads N]

For every cell of the study's first seed that is done (scripts/compare_pruning.py, whose results are
in OUT) the network is exported as float32 and as int8 and timed in turns with the baseline's
float32 file, so that a machine whose speed drifts disturbs both alike. Printed are the median of
the rounds' ratios, with the 10th and 90th percentile, the files' sizes, and what is not done.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import export
from compress.steps import Quantize
from compress.task import Task
from device import errors
from device.machine import machine
from device.runtime import Runtime
from scripts import compare_pruning, pruning_cells, rivals, studies

HEAD = "| network | M MACs | float32, kB | faster | int8, kB | faster |\n|---|---|---|---|---|---|"
ROUNDS, BLOCK, WARM_UP = 15, 20, 20
SCHEMES = (
    Quantize(kind="quantize", scheme="fp32"),
    Quantize(kind="quantize", scheme="static-int8"),
)


class Timed:
    """A model file with inputs, ready to run."""

    def __init__(self, model: Path, inputs: list[dict[str, NDArray[np.float32]]], threads: int):
        self.runtime = Runtime(model, threads=threads)
        self.inputs, self.bytes = inputs, model.stat().st_size
        self.median(WARM_UP)

    def median(self, runs: int = BLOCK) -> float:
        """Median seconds of feed and invoke."""
        taken = np.empty(runs)
        for run in range(runs):
            started = perf_counter()
            self.runtime.feed(self.inputs[run % len(self.inputs)])
            self.runtime.invoke()
            taken[run] = perf_counter() - started
        return float(np.median(taken))


def exported(task: Task, net: nn.Module, folder: Path, name: str, threads: int) -> list[Timed]:
    """The network as float32 and as int8."""
    deployed = task.deploy(net)
    found = []
    for numbers in SCHEMES:
        model = folder / f"{name}-{numbers.scheme}.tflite"
        result = export.export(deployed, numbers, model, folder / "golden.npz")
        keys = {spec.name: spec.key for spec in result.inputs}
        inputs = [{keys[k]: v for k, v in example.items()} for example in deployed.examples[:BLOCK]]
        found.append(Timed(model, inputs, threads))
    return found


def ratios(baseline: Timed, other: Timed) -> NDArray[np.float64]:
    """Baseline's median over the other's, round by round; the order alternates."""
    found = np.empty(ROUNDS)
    for number in range(ROUNDS):
        first, second = (baseline, other) if number % 2 == 0 else (other, baseline)
        times = {id(one): one.median() for one in (first, second)}
        found[number] = times[id(baseline)] / times[id(other)]
    return found


def main(
    study: Path,
    data: Annotated[Path, typer.Option(help="data folder of the recipe")],
    out: Annotated[Path, typer.Option(help="results of compare_pruning.py")],
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Export, time in turns, print a Markdown table."""
    rivals.register()
    chosen = studies.read(study, pruning_cells.Study)
    cells = [cell for cell in chosen.cells() if cell[0] == chosen.seeds[0]]
    done = [cell for cell in cells if pruning_cells.done(chosen, out, *cell)]
    if not done:
        raise errors.BadInputError(
            f"{out}: no finished cell of the first seed: run the study first"
        )
    compare_pruning.check_data(chosen, data, out)
    runner = compare_pruning.Runner(chosen, data, out, chosen.seeds[0])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain, whole = exported(runner.start.task, runner.start.net, folder, "baseline", threads)
        print(f"{machine()}; {plain.runtime.description}; {threads} thread(s), {ROUNDS} rounds\n")
        print(HEAD)
        print(line("baseline", runner.start.record.macs, plain, (plain, whole)))
        for _, method, budget in done:
            net, records = runner.walk(method, budget)
            files = exported(runner.start.task, net, folder, "cell", threads)
            print(line(_title(method, budget), records[-1].macs, plain, files))
    if skipped := [_title(*cell[1:]) for cell in cells if cell not in done]:
        print(f"\nnot done, so not timed: {'; '.join(skipped)}")


def _title(method: pruning_cells.Method, budget: float | None) -> str:
    return method.name if budget is None else f"{method.name}, {budget:.0%}"


def line(name: str, macs: int, baseline: Timed, files: Sequence[Timed]) -> str:
    """A row of the table."""
    cells = [name, f"{macs / 1e6:.1f}"]
    for file in files:
        low, middle, high = np.percentile(ratios(baseline, file), (10, 50, 90))
        cells += [f"{file.bytes / 1e3:.0f}", f"{middle:.2f}× ({low:.2f}–{high:.2f})"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False)
    cli.command()(main)
    errors.run(cli)
