"""A streaming model's memory between two frames, as its manifest describes it (StateSpec).

Frame t:   model(frame, **memory.inputs())  →  memory.keep(outputs)
"""

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from device.manifest import RingSpec, StateSpec
from device.rings import Rings
from device.samples import Array


class Line:
    """A ring that is read at one delay alone: the arrays themselves wait, nothing is copied."""

    def __init__(self, ring: RingSpec) -> None:
        (self._delay,) = ring.delays
        self._width = ring.width
        self.reset()

    def delayed(self) -> Array:
        """[1, width], the array pushed `delay` pushes ago; not to be written to."""
        return self._waiting[0]

    def push(self, newest: Array) -> None:
        """Add one frame, [1, width]; the array is kept and must stay as it is."""
        self._waiting.append(newest)

    def reset(self) -> None:
        """Back to the start of a stream."""
        silence: Array = np.zeros((1, self._width), np.float32)
        self._waiting = deque([silence] * self._delay, self._delay)


def _history(rings: tuple[RingSpec, ...]) -> Rings | Line:
    """What remembers a state's rings."""
    alone = len(rings) == 1 and len(rings[0].delays) == 1 and rings[0].delays[0] > 0
    return Line(rings[0]) if alone else Rings(rings)


class Memory:
    """All states of one stream, zeros at its start.

    Args:
        states: from the manifest.
        shapes: tensor name → shape, of the states' input tensors at least.
    """

    def __init__(self, states: Sequence[StateSpec], shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._rings = [(state, _history(state.rings)) for state in states if state.rings]
        self._carried = [state for state in states if not state.rings]
        self._zeros: dict[str, Array] = {
            state.input: np.zeros(shapes[state.input], np.float32) for state in self._carried
        }
        self._values = dict(self._zeros)

    def inputs(self) -> dict[str, Array]:
        """Input tensors of the next frame by name; valid until `keep` or `reset`."""
        for state, rings in self._rings:
            self._values[state.input] = rings.delayed()
        return self._values

    def keep(self, outputs: Mapping[str, Array]) -> None:
        """Take over the states from a frame's outputs."""
        for state, rings in self._rings:
            rings.push(outputs[state.output])
        for state in self._carried:
            self._values[state.input] = outputs[state.output]

    def reset(self) -> None:
        """Forget everything."""
        for _, rings in self._rings:
            rings.reset()
        self._values.update(self._zeros)
