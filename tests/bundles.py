"""Tiny real bundles for tests: converted by the real converter, run by the real runtime.

Their answers can be computed by hand: the classifier names an image's strongest colour, the
enhancer's mask is a known function of the present frame and of one two frames ago.
"""

from pathlib import Path
from typing import Literal

import litert_torch
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from device import bundle, files, signing
from device.manifest import (
    Data,
    Figures,
    ImageInput,
    Latency,
    Manifest,
    RingSpec,
    SpectrumInput,
    StateSpec,
    TensorSpec,
)

COLOURS = ("red", "green", "blue", "background")
BINS = 257
Named = dict[str, NDArray[np.float32]]


class Colours(nn.Module):
    """[1,H,W,3] in 0…1 → logits of red, green, blue, background (grey)."""

    def forward(self, image: Tensor) -> Tensor:
        mean = image.mean((1, 2))
        grey = mean.mean(-1, keepdim=True) + 0.1
        return 20 * torch.cat((mean, grey), -1)


class Mask(nn.Module):
    """mask = gain of the present frame; the state is the frame itself, two frames late."""

    def __init__(self, gain: float, echo: float) -> None:
        super().__init__()
        self.gain, self.echo = gain, echo

    def forward(self, frame: Tensor, delayed: Tensor) -> tuple[Tensor, Tensor]:
        return self.gain + self.echo * delayed + 0 * frame, frame + 0


class NotANumber(nn.Module):
    """0/0 for every output."""

    def forward(self, frame: Tensor, delayed: Tensor) -> tuple[Tensor, Tensor]:
        return (frame - frame) / (frame - frame), frame + 0


def make_classifier(
    folder: Path,
    size: int = 32,
    labels: tuple[str, ...] = COLOURS,
    net: nn.Module | None = None,
) -> Path:
    """A bundle that names the strongest colour of an image, "background" for grey ones."""
    images: NDArray[np.float32] = np.zeros((4, 1, size, size, 3), np.float32)
    for colour in range(3):
        images[colour, ..., colour] = 1
    images[3] = 0.5
    return _write(
        folder,
        net or Colours(),
        "classify",
        [{"image": image} for image in images],
        ("logits",),
        ImageInput(height=size, width=size, mean=(0, 0, 0), std=(255, 255, 255)),
        labels=labels,
    )


def make_enhancer(
    folder: Path,
    gain: float = 1.0,
    echo: float = 0.0,
    net: nn.Module | None = None,
    golden: bool = True,
) -> Path:
    """A bundle whose mask is gain + echo · (the magnitude feature two frames ago)."""
    generator = np.random.default_rng(0)
    frames = generator.random((3, 1, BINS), np.float32)
    return _write(
        folder,
        net or Mask(gain, echo),
        "enhance",
        [{"frame": f, "delayed": f[:, ::-1].copy()} for f in frames],
        ("mask", "newest"),
        SpectrumInput(
            rate=16_000,
            n_fft=512,
            hop=256,
            feature="compressed_magnitude",
            exponent=0.5,
            mask="magnitude",
        ),
        states=(
            StateSpec(input="delayed", output="newest", rings=(RingSpec(width=BINS, delays=(2,)),)),
        ),
        golden=golden,
    )


def make_nan_enhancer(folder: Path) -> Path:
    """A signed, hashed bundle whose model returns NaN."""
    return make_enhancer(folder, net=NotANumber(), golden=False)


def rewrite_manifest(folder: Path, **changes: object) -> None:
    """Change fields of a bundle's manifest, hash its files anew and sign it again."""
    old = Manifest.model_validate_json((folder / bundle.MANIFEST).read_bytes())
    hashes = {name: files.sha256(folder / name) for name in old.files}
    bundle.write_manifest(folder, old.model_copy(update={"files": hashes, **changes}))
    bundle.sign(folder, signing.own_key())


def _write(
    folder: Path,
    net: nn.Module,
    task: Literal["classify", "enhance"],
    examples: list[Named],
    outputs: tuple[str, ...],
    preprocessing: ImageInput | SpectrumInput,
    states: tuple[StateSpec, ...] = (),
    labels: tuple[str, ...] = (),
    golden: bool = True,
) -> Path:
    folder.mkdir(parents=True)
    tensors = tuple(torch.from_numpy(value) for value in examples[0].values())
    litert_torch.convert(net.eval(), tensors).export(str(folder / bundle.MODEL))
    results: list[tuple[Tensor, ...]] = []
    for example in examples:
        with torch.no_grad():
            result = net(*(torch.from_numpy(value) for value in example.values()))
        results.append(result if isinstance(result, tuple) else (result,))
    stored = {f"in.{name}": np.stack([e[name] for e in examples]) for name in examples[0]}
    for index, name in enumerate(outputs):
        values = np.stack([r[index].numpy() for r in results])
        stored[f"out.{name}"] = values if golden else np.zeros_like(values)
    np.savez(folder / bundle.GOLDEN, allow_pickle=False, **stored)
    (folder / bundle.LABELS).write_text("".join(f"{label}\n" for label in labels))
    names = [bundle.MODEL, bundle.GOLDEN, *([bundle.LABELS] if labels else [])]
    manifest = Manifest(
        schema=1,
        name=folder.name,
        version="0.1.0",
        task=task,
        inputs=tuple(
            _spec(name, f"args_{index}", value)
            for index, (name, value) in enumerate(examples[0].items())
        ),
        outputs=tuple(
            _spec(name, f"output_{index}", stored[f"out.{name}"][0])
            for index, name in enumerate(outputs)
        ),
        states=states,
        preprocessing=preprocessing,
        golden_tolerance=1e-4,
        recipe="",
        seed=0,
        data=Data(description="none", licence="none", fingerprint="none"),
        tools={},
        result=Figures(
            quality={},
            macs=0,
            parameters=0,
            bytes=(folder / bundle.MODEL).stat().st_size,
            latency=Latency(
                p50_ms=0, p95_ms=0, p99_ms=0, runs=0, threads=1, machine="none", runtime="none"
            ),
        ),
        files={name: files.sha256(folder / name) for name in names},
    )
    bundle.write_manifest(folder, manifest)
    bundle.sign(folder, signing.own_key())
    return folder


def _spec(name: str, key: str, value: NDArray[np.float32]) -> TensorSpec:
    return TensorSpec(name=name, key=key, shape=value.shape, dtype="float32", meaning=name)
