"""Latency of the exported float32 file on this machine, one thread, through TFLite.

    predicted(plan) = measured(whole) · Σ_l t_l(plan) / Σ_l t_l(whole)

t_l  milliseconds of layer l alone with the channels the plan leaves, from a table that was
     measured before the search (compress/costs/table.py, after NetAdapt: T.-J. Yang et al.,
     ECCV 2018, section 3.3)

The table says how latency changes with channels, the whole network says how much it is: sums,
pools and copies between layers are assumed to shrink alike. The measured network decides.

Every measured value is the minimum of many runs. A latency has a floor that the machine's other
work can only add to; minima agree to a few per cent where means differ by half.
"""

import tempfile
from pathlib import Path
from time import perf_counter

from torch import nn

from compress import export
from compress.costs.base import Subject
from compress.costs.table import Table
from compress.prune import Plan
from device.runtime import Runtime

RUNS = 100


class Milliseconds:
    """A Cost.

    Raises:
        FieldwrenError: the table has no form for one of the layers.
    """

    def __init__(self, subject: Subject) -> None:
        self._sizes, self._deploy = subject.sizes(), subject.deploy
        deployed = subject.deploy(subject.net)
        self._table = Table(subject.net, self._sizes, deployed)
        self._whole = self._latency(subject.net)
        self._scale = self._whole / self._table.total(
            {name: layer.size for name, layer in self._sizes.layers.items()}
        )

    def predicted(self, plan: Plan) -> float:
        return self._scale * self._table.total(self._sizes.after(plan))

    def measured(self, plan: Plan, net: nn.Module) -> float:
        return self._latency(net)

    def _latency(self, net: nn.Module) -> float:
        deployed = self._deploy(net)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            export.convert(deployed, path)
            runtime = Runtime(path)
        values = {f"args_{i}": deployed.examples[0][n] for i, n in enumerate(deployed.inputs)}
        runtime.feed(values)
        least = float("inf")
        for _ in range(RUNS):
            started = perf_counter()
            runtime.invoke()
            least = min(least, perf_counter() - started)
        return 1e3 * least
