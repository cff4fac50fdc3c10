"""Classifiers that teach: they see the student's pictures and answer with the student's labels."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.distillation.onnx import session
from compress.task import Deployed
from compress.uint8_classifier import Uint8Classifier
from device.bundle import Model
from device.errors import BadInputError
from device.manifest import ImageInput

LEAST = 1 / 512  # half a step of a probability in eight bits
IMAGENET = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)  # mean, deviation
NO_SUM = 1e-3  # by how much probabilities may miss a sum of one, and lie above one


def plain(label: str) -> str:
    """A species' name without its Latin name, case, hyphens and possessive, in any alphabet."""
    common = re.search(r"\(([^()]*)\)\s*$", label)
    name = (common[1] if common else label).lower().replace("'s", "")
    return " ".join(re.findall(r"[^\W_]+", name))


def columns(labels: Sequence[str], known: Sequence[str]) -> list[int]:
    """Where each label is among those a teacher knows, −1 for what it does not.

    By `plain` name; else without numbers, as in 007.Blue_Jay, where no other label differs by
    them alone.
    """
    own, others = [plain(label) for label in labels], [plain(label) for label in known]
    alone = [Counter(map(_words, set(names))) for names in (own, others)]
    by_name = {name: index for index, name in enumerate(others)}
    by_words = {_words(name): index for name, index in by_name.items()}

    def find(name: str) -> int:
        words = _words(name)
        if not name:
            return -1
        if name in by_name or not words or any(found[words] != 1 for found in alone):
            return by_name.get(name, -1)
        return by_words[words]

    return [find(name) for name in own]


def _words(name: str) -> str:
    return " ".join(re.findall(r"[^\W\d_]+", name))


class _Classifier(nn.Module):
    """Turns the student's pictures into the teacher's, and its answers into the student's."""

    def __init__(self, student: Deployed, labels: Sequence[str], source: Path) -> None:
        super().__init__()
        assert isinstance(student.preprocessing, ImageInput)
        self.front = student.preprocessing
        found = columns(student.labels, labels)
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
    """A .tflite that takes uint8 pixels and gives one value a label.

    Probabilities if those of a grey picture are between 0 and 1, else logits.
    """

    def __init__(self, path: Path, labels: Path, student: Deployed) -> None:
        model = Uint8Classifier(path, labels)
        super().__init__(student, model.labels, labels)
        self._model = model
        grey = model(np.full((model.height, model.width, 3), 127, np.uint8))
        self._probabilities = grey.min() >= 0 and grey.max() <= 1 + NO_SUM

    def forward(self, batch: Tensor) -> Tensor:
        sized = self.pixels(batch, self._model.height, self._model.width)
        answers = [self._model(view)[None] for view in sized.round().to(torch.uint8).numpy()]
        if self._probabilities:
            answers = [np.log(np.maximum(answer, LEAST)) for answer in answers]
        return self.ordered(answers, batch)


class OnnxClassifier(_Classifier):
    """An .onnx that takes pictures [1, 3, height, width] as torchvision's networks do.

    [C] (RGB / 255 − mean) / deviation with those of ImageNet; at the student's size where the file
    leaves it open. What it answers are logits, or probabilities if the first are such.
    """

    def __init__(self, path: Path, labels: Path, student: Deployed) -> None:
        names = _lines(labels)
        super().__init__(student, names, labels)
        self._session = session(path)
        given = self._session.get_inputs()[0]
        shape = [size if isinstance(size, int) else None for size in given.shape]
        if len(shape) != 4 or shape[0] not in (1, None) or shape[1] not in (3, None):
            raise BadInputError(
                f"{path}: a teacher takes pictures [1, 3, height, width]; this model takes "
                f"{given.shape}"
            )
        self._name = given.name
        self._size = (shape[2] or self.front.height, shape[3] or self.front.width)
        try:
            (first,) = self._run(np.full((*self._size, 3), 127.5, np.float32))
        except Exception as error:  # its errors have no common base
            raise BadInputError(
                f"{path}: does not run on float32 pictures {[1, 3, *self._size]}"
            ) from error
        if first.shape != (len(names),):
            raise BadInputError(
                f"{path}: answers with {list(first.shape)} values, {labels} has {len(names)} lines"
            )
        self._probabilities = first.min() >= 0 and abs(first.sum() - 1) < NO_SUM

    def _run(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        mean, deviation = IMAGENET
        pixels = ((picture / 255 - mean) / deviation).transpose(2, 0, 1)[None]
        made: NDArray[np.float32] = self._session.run(None, {self._name: pixels})[0]
        return made

    def forward(self, batch: Tensor) -> Tensor:
        answers = [self._run(picture) for picture in self.pixels(batch, *self._size).numpy()]
        if self._probabilities:
            answers = [np.log(np.maximum(answer, LEAST)) for answer in answers]
        return self.ordered(answers, batch)


def _lines(labels: Path) -> list[str]:
    try:
        return labels.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BadInputError(f"{labels}: not readable labels: {error}") from error
