"""Make the two classes a live bird classifier needs beside its species: what is at the feeder.

    python scripts/birds_live.py --data DIR [--out DIR]

`Zebra_Finch`: square crops around the bird in the first half of the recording
`video/zebrafinch/zf20s_640.mp4` (40 % of its length for training, the next 10 % for testing; the
second half stays unseen). The cage is still, so the bird is where a frame differs most from the
median of all frames. `background`: crops without a bird, from the same frames and from the
full-frame photos of `birds/cub20_boxes`, whose `boxes.csv` says where the bird is; every third
photo is kept for testing. The result is an ImageFolder, DIR/birds-live/{train,test}.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from compress.defaults import default_root
from device.errors import BadInputError, run

RECORDING = Path("video/zebrafinch/zf20s_640.mp4")
PHOTOS = Path("birds/cub20_boxes")
LARGEST = 256  # pixels a side; smaller crops keep their size
TRAIN_END, TEST_END = 0.4, 0.5  # fractions of the recording
CHANGED = 30  # grey levels between a frame and the still scene
SEED = 0

Image = NDArray[np.uint8]
Box = tuple[float, float, float, float]  # x, y, width, height in pixels
cli = typer.Typer(add_completion=False)


def frames(path: Path) -> list[Image]:
    """Every frame of a recording, BGR."""
    video = cv2.VideoCapture(str(path))
    found: list[Image] = []
    while True:
        ok, frame = video.read()
        if not ok:
            break
        found.append(frame.astype(np.uint8, copy=False))
    if not found:
        raise BadInputError(f"{path}: no readable recording")
    return found


def locate(frame: Image, still: Image) -> Box | None:
    """The largest region that differs from the still scene."""
    change = cv2.medianBlur(cv2.absdiff(frame, still).max(2), 5)
    joined = cv2.morphologyEx(
        (change > CHANGED).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((25, 25), np.uint8)
    )
    count, _, statistics, _ = cv2.connectedComponentsWithStats(joined)
    if count < 2:
        return None
    x, y, width, height, _ = statistics[1 + statistics[1:, cv2.CC_STAT_AREA].argmax()]
    return float(x), float(y), float(width), float(height)


def around(frame: Image, box: Box, generator: np.random.Generator) -> Image:
    """A square crop holding the box, 1.1 to 2 times its longer side, off centre by chance."""
    x, y, width, height = box
    side = max(width, height) * generator.uniform(1.1, 2.0)
    slack = (side - np.array([width, height])) / 2
    centre = np.array([x + width / 2, y + height / 2]) + generator.uniform(-slack, slack)
    return _crop(frame, centre, side)


def empty(frame: Image, box: Box, generator: np.random.Generator) -> Image | None:
    """A random square crop that does not touch the box; None if there is no room."""
    rows, columns = frame.shape[:2]
    x, y, width, height = box
    for _ in range(50):
        side = min(rows, columns) * generator.uniform(0.1, 0.6)
        left, top = generator.uniform(0, columns - side), generator.uniform(0, rows - side)
        apart = left + side < x or left > x + width or top + side < y or top > y + height
        if apart:
            return _crop(frame, np.array([left + side / 2, top + side / 2]), side)
    return None


def _crop(frame: Image, centre: NDArray[Any], side: float) -> Image:
    rows, columns = frame.shape[:2]
    size = min(int(side), rows, columns)
    left = int(np.clip(centre[0] - size / 2, 0, columns - size))
    top = int(np.clip(centre[1] - size / 2, 0, rows - size))
    part = frame[top : top + size, left : left + size]
    if size <= LARGEST:
        return part
    return cv2.resize(part, (LARGEST, LARGEST), interpolation=cv2.INTER_AREA).astype(np.uint8)


def from_recording(
    path: Path, generator: np.random.Generator
) -> Iterator[tuple[str, str, str, Image]]:
    """(split, class, name, crop) of the recording's first half."""
    whole = frames(path)
    still = np.median(whole[::10], axis=0).astype(np.uint8)
    for index, frame in enumerate(whole[: int(TEST_END * len(whole))]):
        box = locate(frame, still)
        if box is None:
            continue
        split = "train" if index < TRAIN_END * len(whole) else "test"
        yield split, "Zebra_Finch", f"zf20s-{index:03d}", around(frame, box, generator)
        crop = empty(frame, box, generator) if index % 2 == 0 else None
        if crop is not None:
            yield split, "background", f"zf20s-{index:03d}", crop


def from_photos(
    folder: Path, generator: np.random.Generator
) -> Iterator[tuple[str, str, str, Image]]:
    """(split, class, name, crop) of photos whose bird has a known box."""
    with (folder / "boxes.csv").open(newline="") as table:
        for index, row in enumerate(csv.DictReader(table)):
            photo = cv2.imread(str(folder / row["file"]))
            if photo is None:
                raise BadInputError(f"{folder / row['file']}: not a readable image")
            box = (
                float(row["box_x"]),
                float(row["box_y"]),
                float(row["box_w"]),
                float(row["box_h"]),
            )
            crop = empty(photo.astype(np.uint8, copy=False), box, generator)
            if crop is not None:
                yield (
                    "test" if index % 3 == 2 else "train",
                    "background",
                    f"photo-{index:03d}",
                    crop,
                )


@cli.command()
def main(
    data: Annotated[Path, typer.Option(help="folder of the real data sets")],
    out: Annotated[Path | None, typer.Option(help="default: beside the default data")] = None,
) -> None:
    """Write the ImageFolder birds-live."""
    for part in (RECORDING, PHOTOS / "boxes.csv"):
        if not (data / part).is_file():
            raise BadInputError(f"{data}: has no {part}")
    target = (out or default_root()) / "birds-live"
    generator = np.random.default_rng(SEED)
    count = 0
    for split, label, name, crop in (
        *from_recording(data / RECORDING, generator),
        *from_photos(data / PHOTOS, generator),
    ):
        folder = target / split / label
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{name}.jpg"), crop, [cv2.IMWRITE_JPEG_QUALITY, 95])
        count += 1
    print(f"{target}: {count} images")


if __name__ == "__main__":
    run(cli)
