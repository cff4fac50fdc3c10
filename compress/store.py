"""What a stage leaves behind, so that the next run of the same recipe can go on from there.

OUT/stages/NN-kind/  key  checkpoint.pt (while training)  state.pt  record.json

A stage's key is hashed from its table, the task's tables, the data's fingerprint, the seed and
its parent's key: a changed recipe, other photos or another seed rebuild it and all that follow.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError
from torch import Tensor, nn

from compress import distributed, tensors
from compress.cicr import Probe
from compress.figures import Figure
from compress.prune import Plan
from compress.train import Epoch
from device import files
from device.manifest import Frozen

FORMAT = 1  # a change of what the stages mean makes old results unusable
KEY, CHECKPOINT, STATE, RECORD = "key", "checkpoint.pt", "state.pt", "record.json"


class Record(Frozen, ser_json_inf_nan="constants"):
    """A finished training-side stage; a score may be infinite."""

    key: str
    kind: str
    seconds: float
    log: tuple[Epoch, ...] = ()
    plan: Plan | None = None
    mask_error: float | None = None
    probes: tuple[Probe, ...] = ()
    structure: JsonValue = None
    figures: tuple[Figure, ...] = ()
    macs: int
    parameters: int
    primary: str
    validation: dict[str, float]

    @property
    def minutes(self) -> float:
        """Time it took, over all interruptions if it was training or a search."""
        parts = self.probes or self.log
        return (sum(part.seconds for part in parts) or self.seconds) / 60


def key(*parts: Any) -> str:
    """64 hexadecimal digits that stand for everything a stage depends on."""
    text = json.dumps((FORMAT, *parts), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Place:
    """The folder of one stage."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key

    @property
    def checkpoint(self) -> Path:
        """Where training saves its state after every epoch."""
        return self.folder / CHECKPOINT

    def finished(self) -> Record | None:
        """The record of this very stage, if it is complete."""
        try:
            record = Record.model_validate_json((self.folder / RECORD).read_bytes())
        except (OSError, ValidationError):
            return None
        return record if record.key == self.key and (self.folder / STATE).is_file() else None

    def state(self) -> dict[str, Tensor]:
        """The weights a finished stage ended with.

        Raises:
            BadInputError: the file is damaged.
        """
        with tensors.stored(self.folder / STATE) as state:
            return state

    def restore(self, net: nn.Module) -> None:
        """Give a network of the stage's shapes these weights.

        Raises:
            BadInputError: the file is damaged.
        """
        with tensors.stored(self.folder / STATE) as state:
            net.load_state_dict(state)

    def begin(self) -> None:
        """Make the folder ready: what another key left goes, an own checkpoint stays."""
        if distributed.first():
            path = self.folder / KEY
            if not path.is_file() or path.read_bytes() != self.key.encode():
                shutil.rmtree(self.folder, ignore_errors=True)
                files.write_bytes(path, self.key.encode())
        distributed.barrier()

    def finish(self, record: Record, state: dict[str, Tensor]) -> None:
        """Store the result; the checkpoint is no longer needed."""
        if distributed.first():
            tensors.save(self.folder / STATE, state)
            files.write_bytes(self.folder / RECORD, record.model_dump_json(indent=1).encode())
            self.checkpoint.unlink(missing_ok=True)
        distributed.barrier()
