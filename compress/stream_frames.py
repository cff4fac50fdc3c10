"""Inputs that a streaming mask network meets in use: frames of sound, and its states by then."""

from collections.abc import Sequence
from math import gcd
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compress.spectra import FrontEnd
from compress.speech import Samples
from device.memory import Memory
from models.masks import StreamNet

WARM_UP = 70  # frames before the first that is taken, so that the rings are filled
GOLDEN = 4

Frame = dict[str, NDArray[np.float32]]
"""An input's name → its value."""


def evenly(
    stream: StreamNet, end: FrontEnd, recordings: Sequence[Samples], wanted: int
) -> list[Frame]:
    """About `wanted`, evenly picked from what recordings give the network as streams."""
    specs = [state.spec for state in stream.states]
    memory = Memory(specs, {state.spec.input: state.shape for state in stream.states})
    longest = max((delay for s in specs for ring in s.rings for delay in ring.delays), default=1)
    found = []
    for recording in recordings:
        memory.reset()
        spectrum = end.analyse(torch.from_numpy(recording)[None])
        features = end.feature(spectrum)[0].T.contiguous().numpy()
        every = max(1, len(recordings) * (len(features) - WARM_UP) // wanted)
        while gcd(every, 2 * longest) > 1:
            every -= 1  # networks with a stride, which is a delay, are met in all their turns
        for index, feature in enumerate(features):
            values = {"frame": feature[None], **memory.inputs()}
            inputs = {n: values[n].copy() for n in ("frame", *(s.input for s in specs))}
            if index >= WARM_UP and (index - WARM_UP) % every == 0:
                found.append(inputs)
            with torch.no_grad():
                _, *new = stream(*map(torch.from_numpy, inputs.values()))
            memory.keep({s.output: v.numpy() for s, v in zip(specs, new, strict=True)})
    return found


def golden(stream: StreamNet, end: FrontEnd, rate: int, hop: int) -> tuple[Frame, ...]:
    """Those of a made-up sound, for the golden vectors: a bundle holds nobody's voice.

    Two seconds of harmonics of a rising tone that comes and goes, in noise; again and again until
    there are frames for all of them.
    """
    time = np.arange(2 * rate) / rate
    phase = 2 * np.pi * (120 * time + 60 * time**2)
    voice: Any = sum(np.sin(k * phase) / k for k in range(1, 20)) * (np.sin(6 * np.pi * time) > 0)
    noise = np.random.default_rng(0).standard_normal(len(time))
    sound = (0.05 * voice + 0.02 * noise).astype(np.float32)
    sound = np.resize(sound, max(len(sound), (WARM_UP + GOLDEN) * hop))
    return tuple(evenly(stream, end, [sound], GOLDEN))
