"""What rtf.py and speedup.py time: one real input after another through a bundle, front end
included, exactly as the device runs it.

One unit is one hop of audio (STFT, model, mask, ISTFT) or one picture already in memory
(crop size, colour, normalisation, model, softmax).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from compress.defaults import default_data
from device import bundle, images
from device.audio import Resampler, SoundReader
from device.classifier import Classifier
from device.enhancer import StreamEnhancer
from device.errors import BadInputError
from device.manifest import SpectrumInput

PICTURES = 50
CAMERA_PERIOD = 0.1  # seconds: the camera app looks at ten frames a second
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
Item = TypeVar("Item")


@dataclass(frozen=True)
class Workload:
    """A bundle with real input at hand."""

    model: bundle.Model
    source: str
    period: float
    """Seconds of real time that one unit stands for."""
    unit: str
    units: int
    """How many different units the input holds."""
    step: Callable[[int], object]
    """Run unit i."""

    def times(self, first: int, count: int) -> NDArray[np.float64]:
        """Seconds each of `count` units took, starting with unit `first` (they wrap around)."""
        taken = np.empty(count)
        for index in range(count):
            start = perf_counter()
            self.step((first + index) % self.units)
            taken[index] = perf_counter() - start
        return taken


def prepare(folder: Path, source: Path | None, threads: int) -> Workload:
    """Load a bundle and its input; without a source, the default data's recordings.

    Raises:
        BadInputError: bundle or input cannot be used.
    """
    model = bundle.load(folder, threads=threads)
    if isinstance(model.bundle.manifest.preprocessing, SpectrumInput):
        return _audio(model, source or default_data() / "demo" / "speech-noisy-4ch.wav")
    return _pictures(model, source or default_data() / "birds" / "test")


def _audio(model: bundle.Model, source: Path) -> Workload:
    enhancer = StreamEnhancer(model)
    samples = _samples(source, enhancer.rate)
    hops = len(samples) // enhancer.hop
    if hops < 1:
        raise BadInputError(f"{source}: shorter than one hop of {enhancer.hop} samples")
    blocks = samples[: hops * enhancer.hop].reshape(hops, enhancer.hop)
    blocks = blocks[blocks.any(1)]  # no model runs in digital silence
    if not len(blocks):
        raise BadInputError(f"{source}: digital silence, which costs nothing: give one with sound")
    return Workload(
        model,
        source.name,
        enhancer.hop / enhancer.rate,
        f"hop of {1000 * enhancer.hop / enhancer.rate:g} ms",
        len(blocks),
        lambda i: enhancer.process(blocks[i]),
    )


def _samples(source: Path, rate: int) -> NDArray[np.float32]:
    """A recording's first channel at `rate` Hz."""
    with SoundReader(source) as reader:
        blocks = [block.samples[:, 0] for block in iter(lambda: reader.read(reader.rate), None)]
        resampler = Resampler(reader.rate, rate)
    if not blocks:
        raise BadInputError(f"{source}: holds no sound")
    return np.concatenate((resampler.process(np.concatenate(blocks)), resampler.flush()))


def _pictures(model: bundle.Model, source: Path) -> Workload:
    files = [source] if source.is_file() else sorted(source.rglob("*"))
    paths = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise BadInputError(f"{source}: no pictures ({', '.join(sorted(SUFFIXES))}) in it")
    pictures = [images.read(path) for path in spread(paths, PICTURES)]
    classifier = Classifier(model)
    cv2.setNumThreads(model.runtime.threads)
    return Workload(
        model,
        source.name,
        CAMERA_PERIOD,
        "picture",
        len(pictures),
        lambda i: classifier(pictures[i]),
    )


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many, evenly over all of them: of a sorted folder, every class is in."""
    count = min(most, len(items))
    return [items[index * len(items) // count] for index in range(count)]
