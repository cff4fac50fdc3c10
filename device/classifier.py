"""From a picture of one bird to a probability for every label."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.bundle import Model
from device.errors import BadInputError, NonFiniteError
from device.images import Image, preprocess
from device.manifest import ImageInput

INPUT, OUTPUT = "image", "logits"  # the bundle's tensor names


@dataclass(frozen=True)
class Guess:
    """One label and its probability."""

    label: str
    confidence: float


@dataclass(frozen=True)
class Scores:
    """What the model says of one picture. `probabilities` [labels] sum to one."""

    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    milliseconds: float  # preprocessing and model

    def top(self, count: int) -> list[Guess]:
        """The most probable labels, best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [Guess(self.labels[i], float(self.probabilities[i])) for i in order]


class Classifier:
    """A classifier bundle's model with its preprocessing.

    Raises:
        BadInputError: the bundle is for another task or has other tensors.
    """

    def __init__(self, model: Model) -> None:
        manifest = model.bundle.manifest
        if manifest.task != "classify" or not isinstance(manifest.preprocessing, ImageInput):
            raise BadInputError(
                f"{model.bundle.path}: a bundle to {manifest.task}, not to classify pictures"
            )
        inputs = [tensor.name for tensor in manifest.inputs]
        outputs = [tensor.name for tensor in manifest.outputs]
        spec = manifest.preprocessing
        if inputs != [INPUT] or manifest.inputs[0].shape != (1, spec.height, spec.width, 3):
            raise BadInputError(
                f"{model.bundle.path}: needs one input {INPUT} (1, {spec.height}, {spec.width}, 3)"
            )
        if outputs != [OUTPUT]:
            raise BadInputError(f"{model.bundle.path}: needs one output {OUTPUT}, has {outputs}")
        self._model, self._spec = model, spec
        self._temperature = manifest.temperature
        self.labels = model.bundle.labels

    def __call__(self, image: Image) -> Scores:
        """Classify a BGR picture of any size.

        Raises:
            NonFiniteError: the model answered NaN or infinity.
        """
        started = time.perf_counter()
        logits = self._model({INPUT: preprocess(image, self._spec)})[OUTPUT]
        probabilities = softmax(logits[0] / self._temperature)
        if not np.isfinite(probabilities).all():
            raise NonFiniteError(f"{self._model.bundle.path}: probabilities are not finite")
        return Scores(self.labels, probabilities, 1000 * (time.perf_counter() - started))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """exp(z) / Σ exp(z), in float64 and shifted so that it cannot overflow."""
    shifted = logits.astype(np.float64) - logits.max()
    exponents = np.exp(shifted)
    return np.asarray(exponents / exponents.sum())
