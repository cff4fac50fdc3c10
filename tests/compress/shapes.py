"""A tiny ImageFolder of coloured shapes, and recipes that learn it in seconds."""

from pathlib import Path

import cv2
import numpy as np

from compress import recipe
from compress.tasks import birds

COLOURS = {"blue": (200, 60, 40), "green": (60, 190, 60), "red": (40, 50, 210)}  # BGR
RECIPE = """
name = "shapes"
task = "birds"
seed = 0
[data]
train = ["shapes/train"]
test = "shapes/test"
validation = 0.2
batch = 8
description = "coloured discs"
licence = "none"
[model]
kind = "resnet"
depth = 8
width = 16
stride = 2
size = 16
train_size = 16
[baseline]
epochs = {epochs}
lr = 0.05
warmup = 0.2
[[steps]]
kind = "prune"
criterion = "l1"
macs = 0.5
[[steps]]
kind = "finetune"
epochs = 1
lr = 0.01
distil = true
[[steps]]
kind = "quantize"
scheme = "{scheme}"
samples = 8
[gate]
max_drop = {max_drop}
[measure]
runs = 5
warmup = 1
"""


def make_folder(root: Path, train: int = 12, test: int = 5) -> Path:
    """root/{train,test}/<colour>/NN.png; returns root."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                image = random.integers(90, 160, (24, 24, 3), np.uint8)
                centre = random.integers(8, 16, 2).tolist()
                cv2.circle(image, centre, 7, colour, -1)
                cv2.imwrite(str(folder / f"{index:02d}.png"), image)
    return root


def write_recipe(
    path: Path, *, epochs: int = 1, scheme: str = "static-int8", max_drop: float = 100.0
) -> Path:
    """A recipe for `make_folder(DATA / "shapes")`."""
    path.write_text(RECIPE.format(epochs=epochs, scheme=scheme, max_drop=max_drop))
    return path


def make_task(root: Path, recipe_path: Path) -> birds.Birds:
    """The task on root/shapes, as the recipe says."""
    return birds.make(recipe.load(str(recipe_path)).settings, (root,), 0)
