"""Impulse responses from talkers to microphones, made with the default data."""

from pathlib import Path

import numpy as np

from compress.npz import UNREADABLE
from compress.speech import Samples
from device.errors import BadInputError


def read_rooms(path: Path, rate: int) -> list[Samples]:
    """Impulse responses from talkers to microphones: `speech` [room, microphone, tap] of an .npz.

    Raises:
        BadInputError: not such a file, or made for another sample rate.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            responses, own_rate = stored["speech"], int(stored["rate"])
            taps = responses.astype(np.float32).reshape(-1, responses.shape[-1])
    except UNREADABLE as error:
        raise BadInputError(f"{path}: holds no room responses: {error}") from error
    if own_rate != rate:
        raise BadInputError(f"{path}: made for {own_rate} Hz, the recipe works at {rate} Hz")
    return list(taps)
