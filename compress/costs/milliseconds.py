"""Latency of the exported float32 file on this machine, one thread, through TFLite.

    predicted(plan) = measured(whole) · Σ_l t_l(plan) / Σ_l t_l(whole)

t_l  milliseconds of layer l alone with the channels the plan leaves, from a table that was
     measured before the search (compress/costs/table.py, after NetAdapt: T.-J. Yang et al.,
     ECCV 2018, section 3.3)

The table says how latency changes with channels, the whole network says how much it is: sums,
pools and copies between layers are assumed to shrink alike. The measured network decides. Where
the exported form calls other layers than those that are trained, or layers of other kinds than the
table knows, a line through two measured networks predicts instead (compress/costs/line.py).

Every measured value is the minimum of many runs. A latency has a floor that the machine's other
work can only add to; minima agree to a few per cent where means differ by half. Networks that are
compared run in turns, so that a disturbance of seconds hits both.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from torch import nn

from compress import distributed, export
from compress.costs.base import Subject
from compress.costs.line import Line
from compress.costs.table import NoEntry, Table
from compress.costs.times import Times
from compress.prune import Plan
from device.runtime import Runtime

ROUNDS, RUNS = 10, 10


class Milliseconds:
    """A Cost."""

    def __init__(self, subject: Subject) -> None:
        self._deploy, times = subject.deploy, Times(subject.times)

        def in_turns(*nets: nn.Module) -> NDArray[np.float64]:
            return times(lambda: self._rounds(*nets), (len(nets), ROUNDS))

        self._whole = float(times(lambda: np.array(self._latency(subject.net))))
        self._predicted: Callable[[Plan], float]
        try:
            self._predicted = self._by_table(subject, times)
        except NoEntry as missing:
            print(f"milliseconds: {missing}: predicted from the times of all and half the channels")
            line = Line(subject, in_turns)
            if not line.sure:
                times.forget()
            self._predicted = line.predicted

    def predicted(self, plan: Plan) -> float:
        return self._predicted(plan)

    def measured(self, plan: Plan, net: nn.Module) -> float:
        return self._latency(net)

    def _by_table(self, subject: Subject, times: Times) -> Callable[[Plan], float]:
        sizes = subject.sizes()
        table = Table(subject.net, sizes, subject.deploy(subject.net), times)
        scale = self._whole / table.total(sizes.after(subject.groups))
        return lambda plan: scale * table.total(sizes.after(plan))

    def _latency(self, net: nn.Module) -> float:
        return float(self._rounds(net).min())

    def _rounds(self, *nets: nn.Module) -> NDArray[np.float64]:
        """Least milliseconds [network, round] of networks that run in turns."""
        runtimes = [self._runtime(net) for net in nets]
        least = np.full((len(nets), ROUNDS), np.inf)
        for turn in range(ROUNDS):
            for number, runtime in enumerate(runtimes):
                for _ in range(RUNS):
                    started = perf_counter()
                    runtime.invoke()
                    taken = 1e3 * (perf_counter() - started)
                    least[number, turn] = min(least[number, turn], taken)
        return distributed.least(least)

    def _runtime(self, net: nn.Module) -> Runtime:
        """The exported file, fed with a real input."""
        deployed = self._deploy(net)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            export.convert(deployed, path)
            runtime = Runtime(path)
        runtime.feed({f"args_{i}": deployed.examples[0][n] for i, n in enumerate(deployed.inputs)})
        return runtime
