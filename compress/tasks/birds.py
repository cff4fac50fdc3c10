"""The bird classifier: photos in folders → logits, softmax on the host.

Images are stretched to a square, RGB, (pixel − 127) / 128. Training may use smaller views than
the deployed size: random crops make objects look larger than they are in whole photos, and
training at a lower resolution undoes that (H. Touvron et al., "Fixing the train-test resolution
discrepancy", NeurIPS 2019) at a fraction of the time.
"""

import copy
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from torch import Tensor, nn

from compress import accuracy, calibration, images, photo_sources
from compress.augment import USUAL, Augment, Shift, view, wide
from compress.distillation import logits as distillation
from compress.networks import Network
from compress.photo_sources import Sources
from compress.pixels import mixed, mosaics, normalised
from compress.task import Batch, Deployed, Quality
from device.errors import BadInputError, first_problem
from device.manifest import Data, Frozen, ImageInput
from models.efficientnet_lite import MEAN, STD

BATCH = 64  # images of one forward pass when scoring
EXAMPLES = 200  # training photos for calibration, parity and latency


class LossTable(Frozen):
    """[loss]: cross-entropy, mixed with Hinton's distillation where a teacher is given."""

    smoothing: float = Field(0.1, ge=0, lt=1)
    distil: float = Field(0.7, ge=0, le=1, description="weight of the teacher's answers")
    temperature: float = Field(2.0, gt=0)
    mixup: float = Field(
        0.0, ge=0, le=1, description="share of the batches that a teacher answers mixed"
    )


class Settings(Frozen):
    """The recipe tables of this task."""

    data: Sources
    model: Network
    augment: Annotated[Augment | Shift, Field(union_mode="left_to_right")] = Augment()
    loss: LossTable = LossTable()


class Deploy(nn.Module):
    """NHWC pixels in, (logits,) out."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.net(image.permute(0, 3, 1, 2)),)


class Birds:
    """A Task (compress/task.py) on photos held in memory."""

    kind = "classify"

    def __init__(
        self, settings: Settings, train: list[Path], test: dict[str, Path], seed: int
    ) -> None:
        self.settings, model = settings, settings.model
        self.teacher_size = model.train_size
        self.labels = images.class_names(train)
        views = wide(settings.augment)
        largest = round(views * max(model.size, model.train_size))
        photos = images.read(train, self.labels, largest)
        share = settings.data.validation
        self.train, self.validation = images.split(photos, self.labels, share, seed)
        self.test = {name: images.read([path], self.labels, largest) for name, path in test.items()}
        self._data = Data(
            description=settings.data.description,
            licence=settings.data.licence,
            fingerprint=_held(photos.fingerprint, views),
        )

    def data(self) -> Data:
        return self._data

    def build(self) -> nn.Module:
        return self.settings.model.build(len(self.labels))

    def example(self) -> Tensor:
        return self._tensor(self.train, [0])

    def head(self, net: nn.Module) -> list[nn.Module]:
        classifier = net.get_submodule("classifier")
        return [classifier]

    def steps(self) -> int:
        return max(1, len(self.train) // self.settings.data.batch)

    def batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        generator = np.random.default_rng((seed, epoch))
        order = generator.permutation(len(self.train))
        side, batch = self.settings.model.train_size, self.settings.data.batch
        full = max(side, self.teacher_size)
        for step in range(self.steps()):
            chosen = order[step * batch : (step + 1) * batch]
            views = [
                view(self.train.images[i], full, self.settings.augment, generator) for i in chosen
            ]
            pixels, labels = normalised(views, side), torch.from_numpy(self.train.labels[chosen])
            same = side == self.teacher_size
            yield pixels, labels, *(() if same else (normalised(views, self.teacher_size),))

    def loss(self, net: nn.Module, batch: Batch, teacher: nn.Module | None) -> Tensor:
        """The teacher of a resized task sees the same views in the size it was trained with."""
        pixels, labels, *other = batch
        table = self.settings.loss
        if teacher is None:
            return F.cross_entropy(net(pixels), labels, label_smoothing=table.smoothing)
        shown = other[0] if other else pixels
        if table.mixup and float(torch.rand(())) < table.mixup:
            share = torch.rand(len(labels), 1, 1, 1, device=pixels.device)
            with torch.no_grad():
                answers = teacher(mixed(shown, share))
            return distillation.matching(
                net(mixed(pixels, share)), answers, temperature=table.temperature
            )
        logits = net(pixels)
        with torch.no_grad():
            answers = teacher(shown)
        return distillation.loss(
            logits,
            labels,
            answers,
            weight=table.distil,
            temperature=table.temperature,
            smoothing=table.smoothing,
        )

    def resized(self, size: int, train_size: int) -> "Birds":
        """The same photos in another size (compress/stages/resize.py); nothing is read again.

        Raises:
            BadInputError: a size that the network cannot have.
        """
        table = self.settings.model
        try:
            model = type(table).model_validate(
                {**table.model_dump(), "size": size, "train_size": train_size}
            )
        except ValidationError as error:
            raise BadInputError(f"resize: {first_problem(error)}") from error
        other = copy.copy(self)
        other.settings = self.settings.model_copy(update={"model": model})
        return other

    def evaluate(self, net: nn.Module, split: str) -> Quality:
        parts = self._parts(split)
        device = next(net.parameters()).device
        logits = {}
        net.eval()
        with torch.no_grad():
            for name, photos in parts.items():
                answers = [
                    net(
                        self._tensor(photos, range(start, min(start + BATCH, len(photos)))).to(
                            device
                        )
                    )
                    for start in range(0, len(photos), BATCH)
                ]
                logits[name] = torch.cat(answers).float().cpu().numpy()
        return accuracy.quality(parts, logits)

    def score_names(self) -> tuple[str, ...]:
        return accuracy.NAMES

    def minibatches(self, size: int) -> int:
        """Whole minibatches of the validation photos (compress/enas/grades.py)."""
        return max(1, len(self.validation) // size)

    def minibatch(self, number: int, size: int) -> Batch:
        """Validation photos and labels, shuffled anew after every pass."""
        again, index = divmod(number, self.minibatches(size))
        order = np.random.default_rng(again).permutation(len(self.validation))
        chosen = order[index * size : (index + 1) * size]
        return self._tensor(self.validation, chosen), torch.from_numpy(
            self.validation.labels[chosen]
        )

    def grade(self, net: nn.Module, batch: Batch) -> float:
        """Top-1 accuracy, 0…1."""
        pixels, labels = batch
        return float((net(pixels).argmax(1) == labels).float().mean())

    def evaluate_deployed(self, model: Any, split: str) -> Quality:
        parts = self._parts(split)
        return accuracy.quality(
            parts, {name: self._answers(model, photos) for name, photos in parts.items()}
        )

    def temperature(self, model: Any) -> float:
        return calibration.temperature(
            self._answers(model, self.validation), self.validation.labels
        )

    def final_split(self) -> str:
        return "test" if self.test else "validation"

    def scored(self) -> str:
        found = {name: photos.fingerprint for name, photos in self.test.items()}
        whole = hashlib.sha256(repr(sorted(found.items())).encode())
        return whole.hexdigest() if found else self._data.fingerprint

    def deploy(self, net: nn.Module) -> Deployed:
        order = np.random.default_rng(0).permutation(len(self.train))[:EXAMPLES]
        model = self.settings.model
        return Deployed(
            net=Deploy(net).eval(),
            inputs={"image": "RGB photo, (pixel − mean) / std, [1, height, width, 3]"},
            outputs={"logits": "one score per label, softmax gives probabilities"},
            states=(),
            preprocessing=ImageInput(
                height=model.size,
                width=model.size,
                mean=(MEAN, MEAN, MEAN),
                std=(STD, STD, STD),
            ),
            examples=[{"image": self._input(self.train, int(i))} for i in order],
            labels=self.labels,
            golden=tuple({"image": image} for image in mosaics(model.size)),
        )

    def _parts(self, split: str) -> dict[str, images.Photos]:
        return self.test if split == "test" else {"all": self.validation}

    def _answers(self, model: Any, photos: images.Photos) -> NDArray[np.float32]:
        """A deployed model's logits [photos, labels]."""
        return np.concatenate(
            [model({"image": self._input(photos, i)})["logits"] for i in range(len(photos))]
        )

    def _tensor(self, photos: images.Photos, indices: Any) -> Tensor:
        size = self.settings.model.size
        return normalised([images.resize(photos.images[i], size, size) for i in indices])

    def _input(self, photos: images.Photos, index: int) -> NDArray[np.float32]:
        return self._tensor(photos, [index]).permute(0, 2, 3, 1).contiguous().numpy()


def _held(fingerprint: str, views: float) -> str:
    """Of the photos as they are in memory, so many views wide: in another size they are others."""
    if views == USUAL:
        return fingerprint
    return hashlib.sha256(f"{fingerprint} {views}".encode()).hexdigest()


def make(settings: Frozen, folders: tuple[Path, ...], seed: int) -> Birds:
    """The task on the photos that the settings name (compress/photo_sources.py).

    Raises:
        BadInputError: a folder or a class is missing, or a photo is unreadable.
    """
    assert isinstance(settings, Settings)
    data, train, test = photo_sources.find(settings.data, folders)
    return Birds(settings.model_copy(update={"data": data}), train, test, seed)
