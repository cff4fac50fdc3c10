"""A model's memory: rings are read late, carried states one frame later, both forget."""

import numpy as np

from device.manifest import RingSpec, StateSpec
from device.memory import Memory
from device.samples import Array

STATES = (
    StateSpec(input="alone", output="alone_next", rings=(RingSpec(width=1, delays=(2,)),)),
    StateSpec(input="late", output="late_next", rings=(RingSpec(width=2, delays=(3, 1)),)),
    StateSpec(input="sum", output="sum_next"),
)


def vector(*values: float) -> Array:
    return np.array([values], np.float32)


def test_states_come_back_when_they_are_due() -> None:
    memory = Memory(STATES, {"alone": (1, 1), "late": (1, 4), "sum": (1, 1)})
    for _ in range(2):  # the second time after the reset
        seen = []
        for frame in range(1, 5):
            inputs = memory.inputs()
            assert set(inputs) == {"alone", "late", "sum"}
            seen.append([inputs[name][0].tolist() for name in ("alone", "late", "sum")])
            memory.keep(
                {
                    "alone_next": vector(frame),
                    "late_next": vector(frame, -frame),
                    "sum_next": inputs["sum"] + frame,
                }
            )
        assert seen == [
            [[0], [0, 0, 0, 0], [0]],
            [[0], [0, 0, 1, -1], [1]],
            [[1], [0, 0, 2, -2], [3]],
            [[2], [1, -1, 3, -3], [6]],
        ]
        memory.reset()
