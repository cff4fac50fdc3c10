"""One seed, many independent random streams: no part's dice depend on what another part drew."""

import zlib

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of one named purpose, such as `stream(7, "birds", "train", "Mallard", 12)`."""
    words = [name if isinstance(name, int) else zlib.crc32(name.encode()) for name in names]
    return np.random.default_rng([seed, *words])
