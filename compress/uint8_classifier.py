"""A published .tflite classifier: uint8 pixels in, one value for each of its labels out."""

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from device.errors import BadInputError


class Uint8Classifier:
    """One picture [height, width, 3], RGB, in; probabilities [labels] out. One thread.

    Raises:
        BadInputError: a file cannot be read, the model is of another kind, or the labels are not
            as many as its answers.
    """

    def __init__(self, path: Path, labels: Path) -> None:
        try:
            self.labels = tuple(labels.read_text(encoding="utf-8").splitlines())
            self._interpreter = Interpreter(model_content=path.read_bytes(), num_threads=1)
            self._interpreter.allocate_tensors()
        except (OSError, ValueError, RuntimeError) as error:
            raise BadInputError(f"{path}, {labels}: not a readable classifier: {error}") from error
        inputs, outputs = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )
        shapes = [tuple(int(size) for size in one["shape"]) for one in (*inputs, *outputs)]
        height, width = shapes[0][1:3] if len(shapes[0]) == 4 else (0, 0)
        expected = [(1, height, width, 3), (1, len(self.labels))]
        if len(inputs) != 1 or inputs[0]["dtype"] != np.uint8 or shapes[:2] != expected:
            raise BadInputError(
                f"{path}: expected a model that takes uint8 pixels [1, height, width, 3] and gives "
                f"one value for each of its {len(self.labels)} labels; put any other model into a "
                "bundle"
            )
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self.height, self.width = height, width
        self._scale: Any = None if outputs[0]["dtype"] == np.float32 else outputs[0]["quantization"]

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(self._input, picture[None])
        self._interpreter.invoke()
        found = np.asarray(self._interpreter.get_tensor(self._output)[0], np.float32)
        if self._scale is None:
            return found
        scale, zero = self._scale
        return (found - np.float32(zero)) * np.float32(scale)
