"""Latency of a bundle's model on this machine, through the code the device runs."""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from compress import busy
from compress.recipe import Measure
from device.machine import machine
from device.manifest import Latency
from device.runtime import Runtime

Inputs = dict[str, NDArray[np.float32]]  # by signature key


def latency(model: Path, inputs: Sequence[Inputs], options: Measure) -> Latency:
    """Time feed + invoke on real inputs, one after another; percentiles in milliseconds.

    Says so where the machine did other work meanwhile.
    """
    runtime = Runtime(model, threads=options.threads)
    times = np.empty(options.runs)
    attention = busy.Attention()
    for run in range(-options.warmup, options.runs):
        values = inputs[run % len(inputs)]
        started = perf_counter()
        runtime.feed(values)
        runtime.invoke()
        if run >= 0:
            times[run] = 1e3 * (perf_counter() - started)
    others = attention.others()
    if warning := busy.warning(others):
        print(f"latency of {model}:\n{warning}")
    p50, p95, p99 = (float(value) for value in np.percentile(times, (50, 95, 99)))
    return Latency(
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        runs=options.runs,
        threads=options.threads,
        machine=machine(),
        runtime=runtime.description,
        others=others,
    )
