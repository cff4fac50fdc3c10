"""What a WAV's header says about its own length, which libsndfile does not hold against the file.

"RIFF" size "WAVE"    then chunks: name [4], size [4, little-endian], content, even length
"""

import struct
from pathlib import Path
from typing import NamedTuple

UNKNOWN = 0x7FFFF000  # sizes from here on are of encoders that could not go back to write one


class Sizes(NamedTuple):
    """Bytes of sound."""

    promised: int
    held: int


def sizes(path: Path) -> Sizes | None:
    """What the header promises and what the file holds.

    None where nothing can be said: no plain WAV, no sound chunk, or a length left open.
    """
    with path.open("rb") as file:
        riff, _, wave = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if (riff, wave) != (b"RIFF", b"WAVE"):
            return None
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"data":
                if size >= UNKNOWN:
                    return None
                held = path.stat().st_size - file.tell()
                if not size and file.read(4).strip().isalnum():
                    held = 0  # another chunk follows: there is no sound indeed
                return Sizes(size, held)
            file.seek(size + size % 2, 1)
    return None
