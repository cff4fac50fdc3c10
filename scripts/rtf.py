"""Real-time factor of a bundle on this machine: real input, front end included, after warm-up.

    python scripts/rtf.py --bundle models/zoo/enhancer-bands [--input speech.wav] [--threads 1]

The factor is processing time over real time: of a 16 ms hop for enhancers, of the camera's
100 ms between looks for classifiers. Below 1 keeps up.
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
from compress.nodes import nodes
from device import errors
from device.machine import machine
from scripts import arithmetic, workload

WARM_UP = 100


@dataclass(frozen=True)
class RealTime:
    """One measurement and its conditions."""

    bundle: str
    version: str
    model_sha256: str
    input: str
    unit: str
    period_ms: float
    units: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    rtf_p50: float
    rtf_p95: float
    rtf_p99: float
    macs: int
    nodes: int
    pi4_rtf: tuple[float, float] | None  # enhancers, by arithmetic (scripts/arithmetic.py)
    threads: int
    others: float  # share of the time in which the processor did other work
    runtime: str
    machine: str


def measure(work: workload.Workload, seconds: float) -> RealTime:
    """Time units for about `seconds`, at least 200 of them."""
    warm = work.times(0, WARM_UP)
    count = max(200, int(seconds / float(np.median(warm))))
    attention = busy.Attention()
    p50, p95, p99 = np.percentile(work.times(WARM_UP, count), (50, 95, 99))
    others = attention.others()
    found = work.model.bundle
    cost, operators = found.manifest.result, nodes(found.model)
    bounds = arithmetic.pi4(cost.macs, cost.bytes, operators, work.period)
    return RealTime(
        bundle=found.manifest.name,
        version=found.manifest.version,
        model_sha256=found.model_sha256,
        input=work.source,
        unit=work.unit,
        period_ms=round(1000 * work.period, 3),
        units=count,
        p50_ms=round(1000 * p50, 4),
        p95_ms=round(1000 * p95, 4),
        p99_ms=round(1000 * p99, 4),
        rtf_p50=round(p50 / work.period, 5),
        rtf_p95=round(p95 / work.period, 5),
        rtf_p99=round(p99 / work.period, 5),
        macs=cost.macs,
        nodes=operators,
        pi4_rtf=bounds if found.manifest.task == "enhance" else None,
        threads=work.model.runtime.threads,
        others=others,
        runtime=work.model.runtime.description,
        machine=machine(),
    )


def main(
    bundle: Annotated[Path, typer.Option(help="bundle folder")],
    source: Annotated[
        Path | None, typer.Option("--input", help="audio file or folder of pictures")
    ] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="how long to measure")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Measure a bundle's real-time factor."""
    result = measure(workload.prepare(bundle, source, threads), seconds)
    if as_json:
        print(json.dumps(asdict(result)))
        return
    print(f"{result.bundle} {result.version} ({result.model_sha256[:12]}) on {result.input}")
    print(f"  per {result.unit}, {result.units} of them, front end included")
    print(f"  ms   p50 {result.p50_ms:8.3f}   p95 {result.p95_ms:8.3f}   p99 {result.p99_ms:8.3f}")
    print(
        f"  RTF  p50 {result.rtf_p50:8.4f}   p95 {result.rtf_p95:8.4f}   p99 {result.rtf_p99:8.4f}"
    )
    print(f"  {result.macs / 1e6:.2f} M multiply-accumulates, {result.nodes} nodes")
    if result.pi4_rtf is not None:
        low, high = result.pi4_rtf
        print(f"  by arithmetic, one core of a Raspberry Pi 4: RTF {low:.3f} to {high:.2f}")
    print(f"  {result.threads} thread(s), {result.runtime}; {result.machine}")
    if warning := busy.warning(result.others):
        print(warning)


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False)
    cli.command()(main)
    errors.run(cli)
