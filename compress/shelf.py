"""Recordings that do not fit in memory lie in a file that is mapped instead.

A corpus of 500 hours is 58 GB as int16, and a training reads a few seconds of it at a time: the
system's page cache does that better than swapping. The file has no name, so it goes with the
process, however that ends.
"""

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from compress.speech import Recording
from device.errors import BadInputError

IN_MEMORY = 2**30  # bytes of samples: 9.3 hours at 16 kHz


def kept(recordings: Iterable[Recording], folder: Path, limit: int = IN_MEMORY) -> list[Recording]:
    """The recordings in order; the samples of those beyond `limit` bytes are on disk in `folder`.

    Each is taken from the iterable when the one before is put away, so no more than one has to fit
    beside `limit`.

    Raises:
        BadInputError: the folder cannot be written, or the disk is full.
    """
    found: list[Recording] = []
    mapped: dict[int, slice] = {}  # by number, its samples on disk
    held = written = 0
    with ExitStack() as stack:
        file: IO[bytes] | None = None
        for number, recording in enumerate(recordings):
            held += recording.samples.nbytes
            if held <= limit:
                found.append(recording)
                continue
            try:
                if file is None:
                    folder.mkdir(parents=True, exist_ok=True)
                    file = stack.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0))
                _write(file, recording.samples.tobytes())
            except OSError as error:
                raise BadInputError(
                    f"{folder}: no room for {recording.name}, after {written * 2 / 1e9:.1f} GB of "
                    f"sound beside what is in memory: {error}"
                ) from error
            mapped[number] = slice(written, written + len(recording.samples))
            written += len(recording.samples)
            found.append(replace(recording, samples=recording.samples[:0]))
        if file is not None:
            whole = np.memmap(file, np.int16, "r")  # holds the file when it is closed
            for number, part in mapped.items():
                found[number] = replace(found[number], samples=whole[part])
    return found


def _write(file: IO[bytes], content: bytes) -> None:
    """All of it: an unbuffered file may take less, and a buffered one fails again when closed."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
