"""Frozen teachers from files: a bundle, a classifier's or an enhancer's .tflite or .onnx.

Each is a module that answers a batch of the student's own inputs: a classifier with logits in the
order of the student's labels, −∞ where it does not know one (classifiers.py); an enhancer
(`waveform`) with sound (enhancers.py).
"""

from pathlib import Path

from torch import nn

from compress.distillation.classifiers import BundleClassifier, FileClassifier, OnnxClassifier
from compress.distillation.enhancers import BundleEnhancer, FileEnhancer, OnnxEnhancer
from compress.task import Deployed
from device import bundle
from device.bundle import Model
from device.errors import BadInputError
from device.manifest import SpectrumInput


def load(path: Path, labels: Path | None, student: Deployed) -> nn.Module:
    """The teacher in a bundle's folder or a model file; `labels` of a classifier's, one a line.

    Raises:
        BadInputError: no such teacher, or one that does not fit the student.
    """
    if isinstance(student.preprocessing, SpectrumInput):
        return enhancer(path, student.preprocessing.rate)
    if path.is_dir():
        return BundleClassifier(_bundle(path, "classify"), student)
    kinds = {".tflite": FileClassifier, ".onnx": OnnxClassifier}
    kind = kinds[_suffix(path)]
    if labels is None:
        raise BadInputError(f"{path}: a {path.suffix} teacher needs labels, a file with one a line")
    return kind(path, labels, student)


def enhancer(path: Path, rate: int) -> nn.Module:
    """The teacher in a bundle's folder or a model file for a student that hears `rate` Hz.

    Raises:
        BadInputError: no such teacher, or one that does not fit the student.
    """
    if path.is_dir():
        return BundleEnhancer(_bundle(path, "enhance"), rate)
    return {".tflite": FileEnhancer, ".onnx": OnnxEnhancer}[_suffix(path)](path, rate)


def look(path: Path) -> None:
    """That there is a bundle or a model file; whether it fits a student is seen when it is loaded.

    Raises:
        BadInputError: there is none.
    """
    if path.is_dir():
        bundle.read(path)
    else:
        _suffix(path)


def _bundle(path: Path, task: str) -> Model:
    model = bundle.load(path)
    if model.bundle.manifest.task != task:
        raise BadInputError(f"{path}: not a teacher for this task")
    return model


def _suffix(path: Path) -> str:
    if not path.is_file():
        raise BadInputError(f"{path}: no such teacher: give a bundle, a .tflite or an .onnx file")
    if path.suffix not in (".tflite", ".onnx"):
        raise BadInputError(f"{path}: a teacher is a bundle, a .tflite or an .onnx file")
    return path.suffix
