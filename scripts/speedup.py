"""How much faster a compressed bundle is than its baseline: both run in turn on the same input.

    python scripts/speedup.py --baseline models/zoo/birds-baseline --compressed models/zoo/birds

Each round times a block of the one, then a block of the other (the order alternates), so that a
machine whose speed drifts disturbs both alike. The ratio is taken round by round.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import busy
from device import errors
from device.machine import machine
from scripts import workload

WARM_UP = 50
BLOCK = 40


@dataclass(frozen=True)
class SpeedUp:
    """One comparison and its conditions. Times are per unit, front end included."""

    baseline: str
    baseline_sha256: str
    compressed: str
    compressed_sha256: str
    input: str
    unit: str
    rounds: int
    baseline_p50_ms: float
    compressed_p50_ms: float
    speedup: float
    speedup_min: float
    speedup_max: float
    speedup_p10: float
    speedup_p90: float
    bytes_ratio: float
    threads: int
    others: float  # share of the time in which the processor did other work
    runtime: str
    machine: str


def compare(baseline: workload.Workload, compressed: workload.Workload, rounds: int) -> SpeedUp:
    """Interleave the two; the ratio of medians of each round, and its spread over rounds.

    Raises:
        BadInputError: the two do different work.
    """
    if (baseline.unit, baseline.source) != (compressed.unit, compressed.source):
        raise errors.BadInputError(
            f"{compressed.model.bundle.path} does not do the work of {baseline.model.bundle.path}"
        )
    both = (baseline, compressed)
    for work in both:
        work.times(0, WARM_UP)
    medians = np.empty((rounds, 2))
    attention = busy.Attention()
    for number in range(rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            medians[number, which] = np.median(both[which].times(number * BLOCK, BLOCK))
    others = attention.others()
    ratios = medians[:, 0] / medians[:, 1]
    old, new = baseline.model.bundle, compressed.model.bundle
    return SpeedUp(
        baseline=old.manifest.name,
        baseline_sha256=old.model_sha256,
        compressed=new.manifest.name,
        compressed_sha256=new.model_sha256,
        input=baseline.source,
        unit=baseline.unit,
        rounds=rounds,
        baseline_p50_ms=round(1000 * float(np.median(medians[:, 0])), 4),
        compressed_p50_ms=round(1000 * float(np.median(medians[:, 1])), 4),
        speedup=round(float(np.median(ratios)), 3),
        speedup_min=round(float(ratios.min()), 3),
        speedup_max=round(float(ratios.max()), 3),
        speedup_p10=round(float(np.percentile(ratios, 10)), 3),
        speedup_p90=round(float(np.percentile(ratios, 90)), 3),
        bytes_ratio=round(old.model.stat().st_size / new.model.stat().st_size, 3),
        threads=baseline.model.runtime.threads,
        others=others,
        runtime=baseline.model.runtime.description,
        machine=machine(),
    )


def main(
    baseline: Annotated[Path, typer.Option(help="bundle folder")],
    compressed: Annotated[Path, typer.Option(help="bundle folder")],
    source: Annotated[
        Path | None, typer.Option("--input", help="audio file or folder of pictures")
    ] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    rounds: Annotated[int, typer.Option(min=3, help="rounds of both")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Measure the speed-up of a compressed bundle over its baseline."""
    result = compare(
        workload.prepare(baseline, source, threads),
        workload.prepare(compressed, source, threads),
        rounds,
    )
    if as_json:
        print(json.dumps(asdict(result)))
        return
    print(f"{result.baseline} → {result.compressed} on {result.input}, per {result.unit}")
    print(
        f"  {result.baseline_p50_ms:.3f} ms → {result.compressed_p50_ms:.3f} ms: "
        f"{result.speedup:.2f}× faster (rounds {result.speedup_min:.2f}–"
        f"{result.speedup_max:.2f}×), {result.bytes_ratio:.1f}× smaller"
    )
    print(f"  {result.rounds} interleaved rounds, {result.threads} thread(s), {result.runtime}")
    print(f"  {result.machine}")
    if warning := busy.warning(result.others):
        print(warning)


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False)
    cli.command()(main)
    errors.run(cli)
