"""Size of the exported float32 .tflite file.

Absolute, not a share: a flash partition, an update over radio or a cache has a size of its own,
whatever the network weighed before, and a share of the bytes is nearly the share of parameters,
which is a budget already. Float32, because a prune step does not know how a recipe quantizes
later: an int8 file is a little over a quarter of it.

Predicted: the whole network's file without 4 bytes for every value that goes. Names, shapes and
operators stay; norms are folded, so a little less goes than that. The measured file decides.
"""

import tempfile
from pathlib import Path

from torch import nn

from compress import export
from compress.costs.base import Subject
from compress.costs.parameters import lost
from compress.prune import Plan

FLOAT = 4


class Bytes:
    """A Cost."""

    def __init__(self, subject: Subject) -> None:
        self._sizes, self._deploy = subject.sizes(), subject.deploy
        self._whole = self._file(subject.net)

    def predicted(self, plan: Plan) -> float:
        return self._whole - FLOAT * lost(self._sizes.layers, self._sizes.after(plan))

    def measured(self, plan: Plan, net: nn.Module) -> float:
        return self._file(net)

    def _file(self, net: nn.Module) -> int:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            export.convert(self._deploy(net), path)
            return path.stat().st_size
