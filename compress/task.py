"""What a task gives the pipeline: data, network, loss, score, and the form that is deployed.

The pipeline (compress/pipeline.py) knows nothing of birds or speech; a task knows nothing of
pruning or quantization. Every task has this shape.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from device.manifest import Data, ImageInput, SpectrumInput, StateSpec

Batch = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class OneStep:
    """A network in the form that is exported: fixed shapes, one invocation per image or frame.

    `net` takes `inputs` in order and returns a tuple in the order of `outputs`; dictionaries map
    the tensor's name to its meaning. `examples` are real inputs, by name, batch axis included:
    parity and latency are taken on them, and they calibrate the quantizer. `golden` are the inputs
    of the golden vectors, which travel in the bundle: made up where examples may not be passed on.
    """

    net: nn.Module
    inputs: dict[str, str]
    outputs: dict[str, str]
    examples: list[dict[str, NDArray[np.float32]]]
    golden: tuple[
        dict[str, NDArray[np.float32]], ...
    ] = ()  # a plain OneStep's may be empty: its first examples


@dataclass(frozen=True, kw_only=True)
class Deployed(OneStep):
    """What a bundle needs beside the model: what the device does before and between steps."""

    states: tuple[StateSpec, ...]
    preprocessing: ImageInput | SpectrumInput
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quality:
    """Scores of one network on one split. `primary` names the one that counts; more is better."""

    primary: str
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The primary score."""
        return self.scores[self.primary]


@runtime_checkable
class Detailed(Protocol):
    """Part of a task that leaves costly scores out where it evaluates often."""

    def detailed(self, net: nn.Module, split: str) -> Quality:
        """As `evaluate`, with every score the task knows."""
        ...


@runtime_checkable
class Foretold(Protocol):
    """Part of a task that knows its scores by name while no network has been scored."""

    def score_names(self) -> tuple[str, ...]:
        """All that `every_score` may give on "validation"."""
        ...


class Task(Protocol):
    """One problem, made from a recipe's [data], [model] and [task] tables and a data folder."""

    kind: str  # "classify" or "enhance"

    def data(self) -> Data:
        """Description, licence and fingerprint of the training data."""
        ...

    def build(self) -> nn.Module:
        """The uncompressed network, freshly initialised or from published weights."""
        ...

    def example(self) -> Tensor:
        """A real training-form input [1, …] for the dependency graph and for counting."""
        ...

    def head(self, net: nn.Module) -> list[nn.Module]:
        """Layers whose output channels must stay (they are the answer)."""
        ...

    def batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        """One epoch of augmented training batches, the same for the same epoch and seed."""
        ...

    def steps(self) -> int:
        """Batches per epoch."""
        ...

    def loss(self, net: nn.Module, batch: Batch, teacher: nn.Module | None) -> Tensor:
        """Training loss of one batch; with a teacher, distillation is part of it."""
        ...

    def evaluate(self, net: nn.Module, split: str) -> Quality:
        """Score on "validation" (cut from the training data) or "test" (read once, at the end)."""
        ...

    def evaluate_deployed(self, model: Any, split: str) -> Quality:
        """The same score through device code: `model` is a device.bundle.Model."""
        ...

    def final_split(self) -> str:
        """The split of the reported figures: "test", or "validation" where there is no test."""
        ...

    def scored(self) -> str:
        """Fingerprint of what the final split holds: with other data an old score is no score."""
        ...

    def temperature(self, model: Any) -> float:
        """What a classifier's logits are divided by, fitted on the validation split through
        device code as in `evaluate_deployed`; 1 where confidence has no meaning."""
        ...

    def deploy(self, net: nn.Module) -> Deployed:
        """The exported form of a trained network."""
        ...


def every_score(task: Task, net: nn.Module, split: str) -> Quality:
    """All scores that the task has of a network."""
    return task.detailed(net, split) if isinstance(task, Detailed) else task.evaluate(net, split)
