"""DTLN's two exported parts over a recording, frame by frame, as a host runs them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.speech import Samples
from device.runtime import Runtime
from models.dtln import FRAME, HOP

Array = NDArray[np.float32]


class Stream:
    """The parts and their states. Inputs and outputs are in order: value, then states."""

    def __init__(self, spectrum: Path, feature: Path) -> None:
        self.parts = [Runtime(spectrum), Runtime(feature)]

    def enhance(self, noisy: Samples) -> Samples:
        """[n] → [n], aligned."""
        states = [self._start(part) for part in self.parts]
        padded = np.pad(noisy, (0, -len(noisy) % HOP + FRAME - HOP))
        window, summed = np.zeros(FRAME, np.float32), np.zeros(FRAME, np.float32)
        out = []
        for hop in padded.reshape(-1, HOP):
            window = np.concatenate((window[HOP:], hop))
            spectrum = np.fft.rfft(window)
            mask = self._step(0, np.abs(spectrum), states)
            frame = np.fft.irfft(spectrum * mask, FRAME)
            summed = np.pad(summed[HOP:], (0, HOP)) + self._step(1, frame, states)
            out.append(summed[:HOP])
        found: Samples = np.concatenate(out)[FRAME - HOP :][: len(noisy)].astype(np.float32)
        return found

    def _step(self, part: int, value: NDArray[np.float64], states: list[list[Array]]) -> Array:
        given = [value.astype(np.float32)[None], *states[part]]
        outputs = self.parts[part]({f"args_{index}": one for index, one in enumerate(given)})
        answer, *states[part] = (outputs[f"output_{index}"] for index in range(len(outputs)))
        first: Array = answer[0]
        return first

    def _start(self, part: Runtime) -> list[Array]:
        return [
            np.zeros(part.inputs[f"args_{index}"]["shape"], np.float32)
            for index in range(1, len(part.inputs))
        ]
