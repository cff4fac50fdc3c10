"""Times that a search measured before it began, kept so that it resumes with the same ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from compress import distributed
from device import files

Array = NDArray[np.float64]
STORED = TypeAdapter(list[tuple[tuple[int, ...], tuple[float, ...]]])  # shapes and values


class Times:
    """Measurements in the order in which they are asked for: those in `path` first, then new ones.

    Without a path nothing is kept. Where several processes measure, they ask for the same in the
    same order and come to the same values (compress/distributed.py), which the first one writes.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._asked = path, 0
        self._values: list[Array] = []
        if path is not None:
            try:
                stored = STORED.validate_json(path.read_bytes())
                self._values = [np.array(values).reshape(shape) for shape, values in stored]
            except (OSError, ValidationError, ValueError):
                pass  # measured for the first time
            distributed.barrier()  # no process may write before all have read

    def __call__(self, measure: Callable[[], Array], shape: tuple[int, ...] | None = None) -> Array:
        """What was measured at this place, now or before the search was interrupted.

        Where a `shape` is expected and the file has another, which an older version wrote, it and
        all that follow are measured anew.
        """
        stored = self._values[self._asked :]
        if shape is not None and stored and stored[0].shape != shape:
            del self._values[self._asked :]
        if self._asked == len(self._values):
            self._values.append(np.asarray(measure(), np.float64))
            if self._path is not None and distributed.first():
                values = [(v.shape, tuple(v.ravel().tolist())) for v in self._values]
                files.write_bytes(self._path, STORED.dump_json(values))
        self._asked += 1
        return self._values[self._asked - 1]

    def forget(self) -> None:
        """Drop what was measured, so that the next attempt measures anew."""
        self._values, self._asked = [], 0
        if self._path is not None and distributed.first():
            self._path.unlink(missing_ok=True)
