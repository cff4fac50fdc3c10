"""Frozen teachers from files: a bundle, a classifier's .tflite, an enhancer's .onnx.

Each is a module that answers a batch of the student's own inputs: a classifier with logits in the
order of the student's labels, −∞ where it does not know one; an enhancer (`waveform`) with sound.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.task import Deployed
from compress.uint8_classifier import Uint8Classifier
from device import bundle
from device.bundle import Model
from device.enhancer import StreamEnhancer
from device.errors import BadInputError
from device.manifest import ImageInput

PROBE = 16000  # samples of silence that an .onnx is asked for before it teaches
LEAST = 1 / 512  # half a step of a probability in eight bits


def load(path: Path, labels: Path | None, student: Deployed) -> nn.Module:
    """The teacher in a bundle's folder or a model file; `labels` of a .tflite, one a line.

    Raises:
        BadInputError: no such teacher, or one that does not fit the student.
    """
    images = isinstance(student.preprocessing, ImageInput)
    if path.is_dir():
        model = bundle.load(path)
        if (model.bundle.manifest.task == "classify") != images:
            raise BadInputError(f"{path}: not a teacher for this task")
        return BundleClassifier(model, student) if images else BundleEnhancer(model)
    if not path.is_file():
        raise BadInputError(f"{path}: no such teacher: give a bundle, a .tflite or an .onnx file")
    if path.suffix == ".tflite" and images:
        if labels is None:
            raise BadInputError(f"{path}: a .tflite teacher needs labels, a file with one a line")
        return FileClassifier(path, labels, student)
    if path.suffix == ".onnx" and not images:
        return OnnxEnhancer(path)
    raise BadInputError(f"{path}: a classifier's teacher is .tflite, an enhancer's .onnx")


def plain(label: str) -> str:
    """A species' name without its Latin name, case, hyphens and possessive."""
    common = re.search(r"\(([^()]*)\)\s*$", label)
    name = (common[1] if common else label).lower().replace("'s", "")
    return " ".join(re.findall(r"[a-z]+", name))


class _Classifier(nn.Module):
    """Turns the student's pictures into the teacher's, and its answers into the student's."""

    def __init__(self, student: Deployed, labels: Sequence[str], source: Path) -> None:
        super().__init__()
        assert isinstance(student.preprocessing, ImageInput)
        self.front = student.preprocessing
        places = {plain(label): index for index, label in enumerate(labels)}
        found = [places.get(plain(label), -1) for label in student.labels]
        if max(found, default=-1) < 0:
            raise BadInputError(f"{source}: the teacher knows none of the student's labels")
        self.columns = torch.tensor(found)

    def pixels(self, batch: Tensor, height: int, width: int) -> Tensor:
        """The student's input [batch, 3, H, W] as 0…255 at the teacher's size, channels last."""
        mean, std = (
            torch.tensor(values, device=batch.device).view(1, 3, 1, 1)
            for values in (self.front.mean, self.front.std)
        )
        raw = batch.float() * std + mean
        sized = F.interpolate(
            raw, (height, width), mode="bilinear", align_corners=False, antialias=True
        )
        return sized.clamp(0, 255).permute(0, 2, 3, 1).contiguous().cpu()

    def ordered(self, answers: list[NDArray[np.float32]], like: Tensor) -> Tensor:
        """Logits [batch, the student's labels]."""
        logits = torch.from_numpy(np.concatenate(answers))
        chosen = logits[:, self.columns.clamp_min(0)]
        chosen[:, self.columns < 0] = -torch.inf
        return chosen.to(like.device)


class BundleClassifier(_Classifier):
    """A classifier bundle, as the device runs it."""

    def __init__(self, model: Model, student: Deployed) -> None:
        super().__init__(student, model.bundle.labels, model.bundle.path)
        assert isinstance(model.bundle.manifest.preprocessing, ImageInput)
        self.model, self.own = model, model.bundle.manifest.preprocessing

    def forward(self, batch: Tensor) -> Tensor:
        mean, std = (np.asarray(v, np.float32) for v in (self.own.mean, self.own.std))
        views = (self.pixels(batch, self.own.height, self.own.width).numpy() - mean) / std
        return self.ordered([self.model({"image": view[None]})["logits"] for view in views], batch)


class FileClassifier(_Classifier):
    """A .tflite that takes uint8 pixels and gives one probability a label."""

    def __init__(self, path: Path, labels: Path, student: Deployed) -> None:
        model = Uint8Classifier(path, labels)
        super().__init__(student, model.labels, labels)
        self._model = model

    def forward(self, batch: Tensor) -> Tensor:
        sized = self.pixels(batch, self._model.height, self._model.width)
        views = sized.round().to(torch.uint8).numpy()
        answers = [np.log(np.maximum(self._model(view), LEAST))[None] for view in views]
        return self.ordered(answers, batch)


class BundleEnhancer(nn.Module):
    """An enhancer bundle, frame by frame as the device runs it."""

    waveform = True

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, noisy: Tensor) -> Tensor:
        sounds = [StreamEnhancer(self.model).enhance(one) for one in noisy.float().cpu().numpy()]
        return torch.from_numpy(np.stack(sounds)).to(noisy.device)


class OnnxEnhancer(nn.Module):
    """An .onnx that maps a waveform [1, 1, time] to one of the same length, at any level."""

    waveform = True

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise BadInputError(f"{path}: needs onnxruntime: pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(path), options)
        except Exception as error:  # its errors have no common base
            reason = (str(error).splitlines() or ["unreadable"])[0]
            raise BadInputError(f"{path}: not a usable ONNX model: {reason}") from error
        self._name = self._session.get_inputs()[0].name
        try:
            self._run(np.zeros(PROBE, np.float32))
        except Exception as error:
            raise BadInputError(
                f"{path}: a teacher takes a waveform [1, 1, time]; this model does not"
            ) from error

    def _run(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        made: NDArray[np.float32] = self._session.run(None, {self._name: sound[None, None]})[0]
        return made

    def forward(self, noisy: Tensor) -> Tensor:
        sounds = []
        for one in noisy.float().cpu().numpy():
            made = self._run(one)
            sound = np.zeros_like(one)
            flat = made.reshape(-1)[: len(one)]
            sound[: len(flat)] = flat
            sounds.append(sound)
        return torch.from_numpy(np.stack(sounds)).to(noisy.device)
