"""Bird classifiers side by side: accuracy, time and size, all taken in one run.

    python scripts/birds_bench.py --bundle models/zoo/birds-baseline --bundle models/zoo/birds \\
        --peer MODEL.tflite --labels LABELS.txt --photos DATA/birds/cub100/test --out DIR

Photos lie in folders named by species. A peer is a .tflite that takes uint8 pixels, with a file of
its labels, one a line. Names of species are compared without Latin, case and hyphens. Everybody
is scored twice: on the photos of species it knows, and on those of species that all know, there
choosing among all its own labels and among the common ones alone.

A round times every system on the same photos, front end included, one thread, each round in
another order; the factor is taken round by round against the first bundle. OUT/pareto.svg draws
accuracy over time; OUT/table.md and OUT/report.json hold everything.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import plots
from compress.distillation.classifiers import plain
from compress.figures import Figure, Series
from compress.images import resize
from compress.uint8_classifier import Uint8Classifier
from device import bundle, errors, files, images
from device.classifier import Classifier
from device.machine import machine

BLOCK, WARM_UP = 20, 20  # photos of a system in a round, and before the first
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class System:
    """A classifier: a BGR photo of any size in, one score a label out."""

    name: str
    origin: str
    species: tuple[str, ...]  # as `plain` says them
    side: int  # pixels of its input
    bytes: int
    macs: int | None
    classify: Callable[[images.Image], Scores]


@dataclass(frozen=True)
class Row:
    """One system's figures. Accuracy in percent, times in ms a photo."""

    name: str
    origin: str
    labels: int
    side: int
    bytes: int
    macs: int | None
    p50_ms: float
    faster: tuple[float, float, float]  # than the first: median, 10th and 90th percentile of rounds
    known_photos: int
    known: tuple[float, float]  # top-1, top-5
    common_all: tuple[float, float]  # of the common photos, among all its labels
    common_only: tuple[float, float]  # among the labels all know


def of_bundle(folder: Path) -> System:
    """A bundle as the device runs it."""
    model = bundle.load(folder, threads=1)
    classifier, manifest = Classifier(model), model.bundle.manifest
    return System(
        manifest.name,
        f"bundle {manifest.version} ({model.bundle.model_sha256[:12]})",
        tuple(map(plain, classifier.labels)),
        manifest.inputs[0].shape[1],
        manifest.result.bytes,
        manifest.result.macs,
        lambda photo: classifier(photo).probabilities,
    )


def of_file(path: Path, labels: Path) -> System:
    """A published model; photos are stretched to its input as to ours."""
    model = Uint8Classifier(path, labels)

    def classify(photo: images.Image) -> Scores:
        sized = resize(photo, model.height, model.width)
        return model(np.ascontiguousarray(sized[..., ::-1])).astype(np.float64)

    names = tuple(map(plain, model.labels))
    return System(
        path.stem, files.sha256(path)[:12], names, model.width, path.stat().st_size, None, classify
    )


def read(folder: Path) -> tuple[list[images.Image], list[str]]:
    """Photos and the species of each.

    Raises:
        BadInputError: no folders of photos, or one that is unreadable.
    """
    if not folder.is_dir():
        raise errors.BadInputError(f"{folder}: no such folder of species")
    paths = [
        path for one in sorted(folder.iterdir()) if one.is_dir() for path in sorted(one.iterdir())
    ]
    if not paths:
        raise errors.BadInputError(f"{folder}: holds no folders of photos, one a species")
    return [images.read(path) for path in paths], [plain(path.parent.name) for path in paths]


def accuracy(scores: Scores, truth: Sequence[str], species: Sequence[str]) -> tuple[float, float]:
    """Top-1 and top-5, percent; scores [photos, species]."""
    place = {name: index for index, name in enumerate(species)}
    wanted = np.array([place[name] for name in truth])[:, None]
    order = np.argsort(-scores, axis=1, kind="stable")
    top1, top5 = ((order[:, :k] == wanted).any(1).mean() for k in (1, 5))
    return round(100 * float(top1), 2), round(100 * float(top5), 2)


def compare(
    systems: Sequence[System], photos: Sequence[images.Image], truth: Sequence[str], rounds: int
) -> list[Row]:
    """Score everybody, then time everybody in turns.

    Raises:
        BadInputError: there is no species that all know.
    """
    common = set(truth).intersection(*(system.species for system in systems))
    if not common:
        raise errors.BadInputError("no species of the photos is known to all systems")
    times = interleaved(systems, photos, rounds)
    rows = []
    for number, system in enumerate(systems):
        scores = np.stack([system.classify(photo) for photo in photos])
        factor = times[:, 0] / times[:, number]
        known = [i for i, name in enumerate(truth) if name in system.species]
        shared = [i for i, name in enumerate(truth) if name in common]
        columns = [i for i, name in enumerate(system.species) if name in common]
        names = [truth[i] for i in shared]
        rows.append(
            Row(
                name=system.name,
                origin=system.origin,
                labels=len(system.species),
                side=system.side,
                bytes=system.bytes,
                macs=system.macs,
                p50_ms=round(1e3 * float(np.median(times[:, number])), 3),
                faster=_spread(factor),
                known_photos=len(known),
                known=accuracy(scores[known], [truth[i] for i in known], system.species),
                common_all=accuracy(scores[shared], names, system.species),
                common_only=accuracy(
                    scores[np.ix_(shared, columns)], names, [system.species[i] for i in columns]
                ),
            )
        )
        print(f"{system.name:40}{rows[-1].p50_ms:8.2f} ms{rows[-1].known[0]:8.2f} %", flush=True)
    return rows


def interleaved(
    systems: Sequence[System], photos: Sequence[images.Image], rounds: int
) -> NDArray[np.float64]:
    """Seconds a photo [rounds, systems], medians of BLOCK photos; every round in another order."""
    cv2.setNumThreads(1)
    for system in systems:
        _median(system, photos, 0, WARM_UP)
    times = np.empty((rounds, len(systems)))
    for number in range(rounds):
        for which in np.roll(np.arange(len(systems)), number).tolist():
            times[number, which] = _median(systems[which], photos, number * BLOCK, BLOCK)
    return times


def _median(system: System, photos: Sequence[images.Image], first: int, count: int) -> float:
    taken = []
    for index in range(first, first + count):
        photo = photos[index % len(photos)]
        started = perf_counter()
        system.classify(photo)
        taken.append(perf_counter() - started)
    return float(np.median(taken))


def _spread(factor: NDArray[np.float64]) -> tuple[float, float, float]:
    low, middle, high = np.percentile(factor, (10, 50, 90))
    return round(float(middle), 2), round(float(low), 2), round(float(high), 2)


def table(rows: Sequence[Row], common: int, photos: int) -> str:
    """Markdown."""
    head = (
        "system", "labels", "input", "file, kB", "M MACs", "a photo, ms", "× faster (10–90 %)",
        "photos it knows", "top-1 / 5 of them", f"of {common} all know, among its labels",
        "among the common ones",
    )  # fmt: skip
    lines = [head, ("---",) * len(head)]
    for row in rows:
        middle, low, high = row.faster
        lines.append((
            row.name, str(row.labels), str(row.side), f"{row.bytes / 1e3:.0f}",
            "–" if row.macs is None else f"{row.macs / 1e6:.0f}", f"{row.p50_ms:.2f}",
            f"{middle:.2f} ({low:.2f}–{high:.2f})", f"{row.known_photos} of {photos}",
            *(f"{a:.1f} / {b:.1f}" for a, b in (row.known, row.common_all, row.common_only)),
        ))  # fmt: skip
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(
    bundles: Annotated[
        list[Path], typer.Option("--bundle", help="the first is what others are timed against")
    ],
    photos: Annotated[Path, typer.Option(help="folder of folders, one a species")],
    out: Annotated[Path, typer.Option(help="results")],
    peers: Annotated[list[Path] | None, typer.Option("--peer", help="a .tflite")] = None,
    labels: Annotated[list[Path] | None, typer.Option(help="of each peer, in order")] = None,
    rounds: Annotated[int, typer.Option(min=3)] = 20,
) -> None:
    """Score and time bird classifiers in one run."""
    others, names = peers or [], labels or []
    if len(others) != len(names):
        raise errors.BadInputError(f"{len(others)} --peer need as many --labels, not {len(names)}")
    systems = [*map(of_bundle, bundles), *map(of_file, others, names)]
    read_photos, truth = read(photos)
    rows = compare(systems, read_photos, truth, rounds)
    common = set(truth).intersection(*(system.species for system in systems))
    shared = sum(name in common for name in truth)
    out.mkdir(parents=True, exist_ok=True)
    text = table(rows, shared, len(truth))
    report = {
        "machine": machine(), "runtime": bundle.load(bundles[0]).runtime.description,
        "threads": 1, "rounds": rounds, "photos": len(truth), "common_photos": shared,
        "rows": [asdict(row) for row in rows],
    }  # fmt: skip
    files.write_bytes(out / "table.md", text.encode())
    files.write_bytes(out / "report.json", json.dumps(report, indent=1).encode())
    figure = Figure(
        title=f"{shared} photos of species that all know",
        x="ms a photo, one thread",
        y="top-1 among all its labels, %",
        series=tuple(Series(name=r.name, x=(r.p50_ms,), y=(r.common_all[0],)) for r in rows),
        kind="marks",
    )
    files.write_bytes(out / "pareto.svg", plots.figures([figure]).encode())
    print(text)


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False)
    cli.command()(main)
    errors.run(cli)
