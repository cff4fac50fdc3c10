"""Enhancers that teach: they hear the student's mixtures and answer with sound, at any level."""

from pathlib import Path

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.distillation.onnx import session
from device.bundle import Model
from device.enhancer import StreamEnhancer
from device.errors import BadInputError
from device.manifest import SpectrumInput

PROBE = 16000  # samples of silence that a file of any length is asked for before it teaches


class _Enhancer(nn.Module):
    """Asks a model for the sound of one example after the other.

    Args:
        samples: how many the model takes at once; None: any number.
        rate: Hz, of the student.
    """

    waveform = True

    def __init__(self, path: Path, samples: int | None, rate: int) -> None:
        super().__init__()
        self._path, self._samples, self._rate = path, samples, rate

    def sound(self, noisy: NDArray[np.float32]) -> NDArray[np.float32]:
        """[time] → as many samples or fewer, in any shape."""
        raise NotImplementedError

    def _probe(self) -> None:
        """Ask for silence.

        Raises:
            BadInputError: the answer is not as long; and whatever the model's runtime raises.
        """
        asked = self._samples or PROBE
        answered = self.sound(np.zeros(asked, np.float32)).size
        if not asked / 2 <= answered <= 2 * asked:  # a last frame may be missing or filled up
            raise BadInputError(
                f"{self._path}: answers {asked} samples with {answered} values: a teacher answers "
                "with a waveform of the same length"
            )

    def forward(self, noisy: Tensor) -> Tensor:
        """[example, time] → [example, time].

        Raises:
            BadInputError: the model takes another number of samples.
        """
        length = noisy.shape[1]
        if self._samples not in (None, length):
            raise BadInputError(
                f"{self._path}: takes {self._samples} samples at once and hears {length}: set "
                f"mixing.seconds to {self._samples / self._rate:g}, or give a model of any length"
            )
        sounds = np.zeros((len(noisy), length), np.float32)
        for sound, one in zip(sounds, noisy.float().cpu().numpy(), strict=True):
            made = self.sound(one).reshape(-1)[:length]
            sound[: len(made)] = made
        return torch.from_numpy(sounds).to(noisy.device)


class BundleEnhancer(_Enhancer):
    """An enhancer bundle, frame by frame as the device runs it."""

    def __init__(self, model: Model, rate: int) -> None:
        super().__init__(model.bundle.path, None, rate)
        front = model.bundle.manifest.preprocessing
        assert isinstance(front, SpectrumInput)
        if front.rate != rate:
            raise BadInputError(
                f"{model.bundle.path}: the teacher hears {front.rate} Hz, the student {rate}: give "
                "a teacher of the student's rate"
            )
        self.model = model

    def sound(self, noisy: NDArray[np.float32]) -> NDArray[np.float32]:
        return StreamEnhancer(self.model).enhance(noisy)


class FileEnhancer(_Enhancer):
    """A .tflite that maps a waveform [1, …, time] to one of the same length, at any level."""

    def __init__(self, path: Path, rate: int) -> None:
        try:
            interpreter = Interpreter(model_content=path.read_bytes(), num_threads=1)
        except (OSError, ValueError) as error:
            raise BadInputError(f"{path}: not a readable model: {error}") from error
        given, made = interpreter.get_input_details(), interpreter.get_output_details()
        sizes = [int(size) for size in given[0]["shape_signature"]] if len(given) == 1 else []
        if not sizes or not made or given[0]["dtype"] != np.float32 or set(sizes[:-1]) - {1}:
            raise BadInputError(
                f"{path}: a teacher takes one waveform [1, time] of float32; this model does not"
            )
        super().__init__(path, sizes[-1] if sizes[-1] > 0 else None, rate)
        self._interpreter, self._sizes = interpreter, sizes
        self._input = given[0]["index"]
        self._output = made[0]["index"]
        try:
            self._probe()
        except (RuntimeError, ValueError) as error:
            asked = self._samples or PROBE
            raise BadInputError(f"{path}: does not run on {asked} samples: {error}") from error

    def sound(self, noisy: NDArray[np.float32]) -> NDArray[np.float32]:
        shape = [*self._sizes[:-1], len(noisy)]
        self._interpreter.resize_tensor_input(self._input, shape)
        self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(self._input, noisy.reshape(shape))
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output), np.float32)


class OnnxEnhancer(_Enhancer):
    """An .onnx that maps a waveform [1, …, time] to one of the same length, at any level."""

    def __init__(self, path: Path, rate: int) -> None:
        opened = session(path)
        given = opened.get_inputs()[0]
        size = given.shape[-1] if given.shape else None
        super().__init__(path, size if isinstance(size, int) else None, rate)
        self._session, self._name = opened, given.name
        self._alone = (1,) * (len(given.shape or (1, 1, 1)) - 1)  # what stands before time
        try:
            self._probe()
        except BadInputError:
            raise
        except Exception as error:  # its errors have no common base
            raise BadInputError(
                f"{path}: a teacher takes one waveform [1, time]; this model does not"
            ) from error

    def sound(self, noisy: NDArray[np.float32]) -> NDArray[np.float32]:
        alone = noisy.reshape(*self._alone, -1)
        made: NDArray[np.float32] = self._session.run(None, {self._name: alone})[0]
        return made
