"""Time several bundles in turns, with whatever runtime this Python has, and prove their answers.

    PYTHON scripts/interleaved.py BUNDLE… [--rounds N]      one JSON object

PYTHON needs numpy, typer and one runtime, ai-edge-litert or tflite-runtime: an environment of its
own, because the two ask for different versions of numpy. Each round times a block of every model,
so that a machine whose speed drifts disturbs all alike; the inputs are the bundles' golden vectors.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from device import errors
from device.machine import machine
from device.runtime import Runtime

BLOCK_SECONDS = 0.2  # of one model in one round, roughly
MOST, WARM_UP = 40, 3


class Candidate:
    """One bundle's model with its golden vectors."""

    def __init__(self, folder: Path, threads: int) -> None:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        self.runtime = Runtime(folder / "model.tflite", threads=threads)
        inputs = {tensor["key"]: tensor["name"] for tensor in manifest["inputs"]}
        self.outputs = {tensor["key"]: tensor["name"] for tensor in manifest["outputs"]}
        own = manifest.get("golden_tolerances", {})
        self.tolerances = {
            name: float(own.get(name, manifest["golden_tolerance"]))
            for name in self.outputs.values()
        }
        with np.load(folder / "golden.npz", allow_pickle=False) as stored:
            self.golden: dict[str, NDArray[Any]] = {key: stored[key] for key in stored.files}
        count = len(next(iter(self.golden.values())))
        self.examples = [
            {key: self.golden[f"in.{name}"][i] for key, name in inputs.items()}
            for i in range(count)
        ]
        one = float(np.median(self.times(WARM_UP)))
        self.block = max(1, min(MOST, round(BLOCK_SECONDS / one)))

    def times(self, runs: int) -> NDArray[np.float64]:
        """Seconds of feed and invoke."""
        taken = np.empty(runs)
        for run in range(runs):
            started = perf_counter()
            self.runtime.feed(self.examples[run % len(self.examples)])
            self.runtime.invoke()
            taken[run] = perf_counter() - started
        return taken

    def timed(self) -> NDArray[np.float64]:
        """Seconds of each run of one block."""
        return self.times(self.block)

    def check(self) -> dict[str, float]:
        """Largest |output − golden| on this runtime, of the output nearest to its tolerance."""
        worst = dict.fromkeys(self.tolerances, 0.0)
        for index, example in enumerate(self.examples):
            for key, value in self.runtime(example).items():
                name = self.outputs[key]
                off = float(np.abs(value - self.golden[f"out.{name}"][index]).max())
                worst[name] = max(worst[name], off)
        nearest = max(worst, key=lambda name: worst[name] / self.tolerances[name])
        return {"difference": worst[nearest], "tolerance": self.tolerances[nearest]}


def in_turns(
    blocks: Mapping[str, Callable[[], NDArray[np.float64]]], rounds: int
) -> dict[str, list[NDArray[np.float64]]]:
    """Run every block once a round, every other round in the opposite order.

    Args:
        blocks: by name; each times its runs, in seconds.
        rounds: how often.
    Returns:
        Per name what its block gave, round by round.
    """
    taken: dict[str, list[NDArray[np.float64]]] = {name: [] for name in blocks}
    for number in range(rounds):
        for name in list(blocks)[:: 1 if number % 2 == 0 else -1]:
            taken[name].append(blocks[name]())
    return taken


def main(
    bundles: list[Path],
    rounds: Annotated[int, typer.Option(min=1)] = 15,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Print medians over rounds in milliseconds; a model this runtime refuses gives its reason."""
    candidates: dict[str, Candidate] = {}
    found: dict[str, dict[str, Any]] = {}
    for folder in bundles:
        try:
            candidate = Candidate(folder, threads)
            candidates[folder.name] = candidate
            found[folder.name] = candidate.check()
        except errors.FieldwrenError as error:
            found[folder.name] = {"refused": str(error)}
    taken = in_turns({name: candidate.timed for name, candidate in candidates.items()}, rounds)
    for name, blocks in taken.items():
        medians = [1e3 * float(np.median(block)) for block in blocks]
        low, middle, high = np.percentile(medians, (10, 50, 90))
        found[name] |= {"p10_ms": low, "p50_ms": middle, "p90_ms": high}
    runtime = next((c.runtime.description for c in candidates.values()), "none")
    print(json.dumps({"machine": machine(), "runtime": runtime, "models": found}))


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False)
    cli.command()(main)
    errors.run(cli)
