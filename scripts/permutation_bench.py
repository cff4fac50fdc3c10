"""Weight permutation as a criterion: what the forms cost, and how far single draws agree.

    python scripts/permutation_bench.py --data DIR > result.md

DIR holds cifar10/*.npz (`blob[offsets[i]:offsets[i + 1]]` is one JPEG, `labels[i]`). For every seed
a small network is trained on real images; then its first convolution (3 → 64 channels, 27 weights
a filter) and its second (64 → 64, 576 weights) are scored on held-out images. Times are CPU time of
the layer alone, its inputs being at hand; the forms take turns and the median of the turns counts.
"""

import itertools
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from time import process_time
from typing import Annotated

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import typer
from scipy.stats import spearmanr
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress.criteria import (
    permutation,
    permutation_expected,
    permutation_literal,
    permutation_shuffles,
    permutation_zero,
)
from compress.statistics import Calibration
from device import errors
from device.machine import machine
from models.layers import conv_norm

TRAINED_ON = 6000
BATCH = 100
TURNS = 3
FORMS = {
    "literal, one filter after the other": permutation_literal.gather,
    "all at once": permutation.gather,
    f"all at once, {permutation_shuffles.SHUFFLES} shuffles": permutation_shuffles.gather,
    "closed form": permutation_expected.gather,
    "zeroing": permutation_zero.gather,
}


def images(folder: Path) -> tuple[Tensor, Tensor]:
    """Pixels [n, 3, 32, 32] around zero and labels [n] of every training shard.

    Raises:
        BadInputError: there is none, or it is not of this form.
    """
    paths = sorted((folder / "cifar10").glob("cifar10_train_*.npz"))
    if not paths:
        raise errors.BadInputError(f"{folder}: no cifar10/cifar10_train_*.npz in it")
    pixels, labels = [], []
    for path in paths:
        try:
            with np.load(path) as shard:
                blob, offsets = shard["blob"], shard["offsets"]
                labels.append(shard["labels"])
            for first, last in itertools.pairwise(offsets):
                pixels.append(np.asarray(cv2.imdecode(blob[first:last], cv2.IMREAD_COLOR_RGB)))
        except (KeyError, ValueError, OSError, cv2.error) as error:
            raise errors.BadInputError(f"{path}: not a shard of JPEGs: {error}") from error
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    return (stacked.float() - 127) / 64, torch.from_numpy(np.concatenate(labels)).long()


def network(pixels: Tensor, labels: Tensor, epochs: int, seed: int) -> nn.Sequential:
    """Three convolutions and an answer, trained."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        conv_norm(3, 64, 3, 2, activation=nn.ReLU()),
        conv_norm(64, 64, 3, activation=nn.ReLU()),
        nn.MaxPool2d(2),
        conv_norm(64, 128, 3, 2, activation=nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    steps = epochs * len(pixels) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for _ in range(epochs):
        for indices in torch.split(torch.randperm(len(pixels)), BATCH):
            loss = F.cross_entropy(net(pixels[indices]), labels[indices])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return net.eval()


def alone(layer: nn.Module, x: Tensor) -> Calibration:
    """The layer as a network of its own, so that nothing else costs time."""
    return Calibration(nn.Sequential(layer), lambda net, batch: net(batch[0])[0, 0, 0, 0], [(x,)])


def times(calibration: Calibration) -> dict[str, float]:
    """CPU seconds of every form, median of TURNS."""
    taken: dict[str, list[float]] = {form: [] for form in FORMS}
    for turn in range(TURNS + 1):
        for form, gather in FORMS.items():
            start = process_time()
            gather(calibration, 0)
            if turn:  # the first warms up
                taken[form].append(process_time() - start)
    return {form: median(seconds) for form, seconds in taken.items()}


def agreement(layer: nn.Module, calibration: Calibration, shuffles: int) -> dict[str, float]:
    """Errors and mean rank correlations of single draws, means of draws and the expectation."""
    drawn = [permutation.gather(calibration, seed)[layer] for seed in range(shuffles)]
    draws = torch.stack(drawn).numpy()
    expected = permutation_expected.gather(calibration, 0)[layer].numpy()
    literal = permutation_literal.gather(calibration, 0)[layer].numpy()
    error = np.abs(draws.mean(0) / expected - 1)
    many = permutation_shuffles.SHUFFLES
    means = draws[: shuffles // many * many].reshape(-1, many, len(expected)).mean(1)
    return {
        "largest relative difference of literal and all at once": float(
            np.abs(literal / draws[0] - 1).max()
        ),
        f"closed form against {shuffles} shuffles: mean error of a channel": float(error.mean()),
        f"closed form against {shuffles} shuffles: largest error of a channel": float(error.max()),
        f"closed form against {shuffles} shuffles: error of the layer's sum": float(
            abs(draws.mean(0).sum() / expected.sum() - 1)
        ),
        "rank correlation: one shuffle, another": paired(draws),
        f"rank correlation: mean of {many}, another": paired(means),
        "rank correlation: one shuffle, closed form": against(draws, expected),
        f"rank correlation: mean of {many}, closed form": against(means, expected),
        f"rank correlation: mean of {shuffles}, closed form": against(
            draws.mean(0)[None], expected
        ),
    }


def paired(scores: np.ndarray) -> float:
    """Mean Spearman correlation of disjoint pairs of rows."""
    pairs = zip(scores[::2], scores[1::2], strict=False)
    return fmean(float(spearmanr(one, other).statistic) for one, other in pairs)


def against(scores: np.ndarray, reference: np.ndarray) -> float:
    """Mean Spearman correlation of rows with a reference."""
    return fmean(float(spearmanr(row, reference).statistic) for row in scores)


def main(
    data: Annotated[
        Path, typer.Option(envvar="FIELDWREN_DATA", help="data folder, holds cifar10/*.npz")
    ],
    scored: Annotated[int, typer.Option(min=2, help="held-out images the layers see")] = 64,
    shuffles: Annotated[int, typer.Option(min=16)] = 200,
    epochs: Annotated[int, typer.Option(min=1)] = 2,
    seeds: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Print one Markdown table for each layer: mean over seeds, and each seed's value."""
    torch.set_num_threads(1)
    pixels, labels = images(data)
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        net = network(pixels[:TRAINED_ON], labels[:TRAINED_ON], epochs, seed)
        x = pixels[TRAINED_ON : TRAINED_ON + scored]
        with torch.no_grad():
            held = slice(-2000, None)
            accuracy = float((net(pixels[held]).argmax(1) == labels[held]).float().mean())
            inner = net[0](x)
        found.setdefault("Network", {}).setdefault("accuracy, held-out images", []).append(accuracy)
        for name, block, inputs in (("3 → 64", net[0], x), ("64 → 64", net[1], inner)):
            layer = block.get_submodule("conv")
            calibration = alone(layer, inputs)
            taken = times(calibration)
            rows = {f"CPU ms: {form}": 1000 * seconds for form, seconds in taken.items()}
            literal, at_once, *_ = taken.values()
            rows["CPU time: literal / all at once"] = literal / at_once
            rows |= agreement(layer, calibration, shuffles)
            table = found.setdefault(f"Convolution 3 × 3, {name} channels", {})
            for row, value in rows.items():
                table.setdefault(row, []).append(value)
    for heading, table in found.items():
        print(f"\n**{heading}**\n\n| figure | mean | each seed |\n|---|---|---|")
        for row, values in table.items():
            each = ", ".join(f"{value:.3g}" for value in values)
            print(f"| {row} | {fmean(values):.3g} | {each} |")
    print(
        f"\n{scored} images scored, {shuffles} shuffles, {TURNS} turns, {seeds} seeds, "
        f"{epochs} epochs on {TRAINED_ON} images. {machine()}; Python {sys.version.split()[0]}, "
        f"PyTorch {torch.__version__}, {torch.get_num_threads()} thread, load "
        f"{os.getloadavg()[0]:.1f}; {datetime.now(UTC):%Y-%m-%d}."
    )


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False)
    cli.command()(main)
    errors.run(cli)
