"""Pictures of birds: photo cut-outs on made-up backgrounds, and a zebra finch from a recording.

A cut-out is one photograph, so the test pictures of its species differ from the training ones in
background, clutter, pose and camera, not in the bird. `Zebra_Finch` is tested on later seconds
of the recording, and `background` on clutter that training never shows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from compress.defaults.backgrounds import SIDE, scene
from compress.defaults.camera import shoot
from compress.defaults.packages import Package
from compress.defaults.pixels import (
    Canvas,
    Cutout,
    Image,
    blurred,
    enlarged,
    mirrored,
    over,
    premultiplied,
    reduced,
)
from compress.defaults.recording import HEIGHT, WIDTH, Box, Recording, Sighting
from compress.defaults.seeds import stream
from device.errors import BadInputError

PACKAGE = Package("tuxpaint-stamps-default", "Debian", "GPL-2")
PACKAGE_FOLDER = "usr/share/tuxpaint/stamps"
BIRDS = "animals/birds/"

# Species → photographs of it. The package says "a crow" or "an owl"; the species is what the
# photograph shows. Poultry, captive colour forms, drawings and second penguins are left out.
SPECIES: dict[str, tuple[str, ...]] = {
    "Adelaide_Rosella": ("adelaide-rosella",),
    "American_Crow": ("crow",),
    "American_White_Pelican": ("pelican",),
    "Australian_Magpie": ("magpie",),
    "Chilean_Flamingo": ("pink_flamingo",),
    "Common_Cuckoo": ("cuckoo",),
    "Eurasian_Blackbird": ("blackbird",),
    "Great_Blue_Heron": ("heron_greatblue", "heron_greatblue_flying"),
    "Horned_Lark": ("lark",),
    "Keel-billed_Toucan": ("tucan",),
    "Little_Penguin": ("little-penguin",),
    "Mallard": ("duck", "drake"),
    "Rainbow_Lorikeet": ("rainbow-lorikeet",),
    "Rock_Pigeon": ("pigeon",),
    "Silver_Gull": ("silver-gull",),
    "Snowy_Owl": ("owl",),
}
FILMED = "Zebra_Finch"
BACKGROUND = "background"
# What else a feeder camera sees: photographs of plants, fruit, insects and mammals.
CLUTTER = (
    "plants/", "plants/flowers/", "plants/mushrooms/", "plants/trees/", "food/fruit/",
    "animals/insects/", "animals/mammals/",
)  # fmt: skip
TEST_CLUTTER = 4  # every fourth thing is seen in the test set only


@dataclass(frozen=True)
class Stamps:
    """Cut-outs read from the package."""

    species: dict[str, tuple[Cutout, ...]]
    clutter: dict[str, list[Cutout]]  # by split


def read_stamps(files: Mapping[str, bytes]) -> Stamps:
    """PNG files (path below the stamps' folder → content) → species and clutter.

    Raises BadInputError naming the photograph that is missing or not a cut-out.
    """

    def cutout(path: str) -> Cutout:
        image = cv2.imdecode(np.frombuffer(files.get(path, b"\0"), np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 3 or image.shape[2] != 4:
            raise BadInputError(
                f"{PACKAGE.name}: {path} is missing or no cut-out with alpha; this version of the "
                "package differs from Debian 12's: use your own data with --data DIR"
            )
        return np.asarray(image, np.uint8)

    species = {
        name: tuple(cutout(f"{BIRDS}{view}.png") for view in views)
        for name, views in SPECIES.items()
    }
    things = sorted(path for path in files if f"{path.rpartition('/')[0]}/" in CLUTTER)
    test = things[::TEST_CLUTTER]
    train = [path for path in things if path not in test]
    return Stamps(species, {"train": [cutout(p) for p in train], "test": [cutout(p) for p in test]})


def composite(bird: Cutout, behind: Canvas, random: np.random.Generator) -> Canvas:
    """The bird, posed at random, on a background: it fills 50–100 % of the picture."""
    height, width = bird.shape[:2]
    # A region is stretched to a square, so a long bird arrives anywhere between its own
    # proportions (0) and a square (1).
    towards_square = random.uniform(0, 0.8)
    aspect = (width / height) ** (1 - towards_square)
    reach = SIDE * random.uniform(0.5, 1.0)
    wide, high = (reach, reach / aspect) if aspect > 1 else (reach * aspect, reach)
    angle = np.deg2rad(random.normal(0, 12))
    half = np.array([[-wide, -high], [wide, -high], [wide, high], [-wide, high]]) / 2
    if random.random() < 0.5:
        half[:, 0] *= -1
    half += random.uniform(-0.07, 0.07, (4, 2)) * (wide, high)  # perspective
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    room = (SIDE - np.array((wide, high))) / 2
    # at times a quarter of the bird is outside the picture
    slack = room + (0.25 * np.array((wide, high)) if random.random() < 0.2 else 0.03 * SIDE)
    centre = SIDE / 2 + random.uniform(-1, 1, 2) * slack
    corners = (half @ turn.T + centre).astype(np.float32)
    layer = premultiplied(bird)
    shrink = min(max(wide / width, high / height), 1)
    layer = reduced(layer, max(round(width * shrink), 2), max(round(height * shrink), 2))
    right, bottom = layer.shape[1], layer.shape[0]
    edge = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
    place = cv2.getPerspectiveTransform(edge, corners)
    posed = np.asarray(cv2.warpPerspective(layer, place, (SIDE, SIDE)), np.float32)
    posed = blurred(posed, random.uniform(0.3, 0.9))  # no cut edge to learn
    light = random.uniform(0.75, 1.15) * random.uniform(0.95, 1.05, 3)
    posed[..., :3] *= light.astype(np.float32)
    return over(behind, posed)


def region(image: Image, box: Box, random: np.random.Generator) -> Canvas:
    """The box with a random margin as a square picture, as a motion gate would cut it."""
    wide, high = random.uniform(1.0, 1.9) * random.uniform(0.85, 1.15, 2) * (box.width, box.height)
    centre_x = box.left + box.width / 2 + random.uniform(-0.12, 0.12) * wide
    centre_y = box.top + box.height / 2 + random.uniform(-0.12, 0.12) * high
    left, top = max(int(centre_x - wide / 2), 0), max(int(centre_y - high / 2), 0)
    right, bottom = int(centre_x + wide / 2) + 1, int(centre_y + high / 2) + 1
    return enlarged(image[top:bottom, left:right], SIDE)


def empty_cage(sightings: Sequence[Sighting], random: np.random.Generator) -> Image:
    """A part of the cage without the bird; half of them where the bird sits at another time."""
    while True:
        now = sightings[int(random.integers(len(sightings)))]
        if random.random() < 0.5:
            other = sightings[int(random.integers(len(sightings)))].bird
            wide, high = random.uniform(1.0, 1.9, 2) * (other.width, other.height)
            left = other.left + (other.width - wide) / 2
            top = other.top + (other.height - high) / 2
        else:
            wide, high = np.exp(random.uniform(np.log(16), np.log(160), 2))
            left, top = random.uniform(0, WIDTH - wide), random.uniform(0, HEIGHT - high)
        place = Box(max(int(left), 0), max(int(top), 0), int(wide), int(high))
        bird = now.bird
        # the tail's tip and the shadow may lie outside the box that was found
        around = Box(bird.left - 8, bird.top - 8, bird.width + 16, bird.height + 16)
        if not place.overlaps(around):
            return now.image[
                place.top : place.top + place.height, place.left : place.left + place.width
            ]


def build(
    folder: Path,
    stamps: Stamps,
    recording: Recording,
    counts: Mapping[str, int],
    seed: int,
    tick: Callable[[float], None],
) -> dict[str, int]:
    """Write {train,test}/<Species>/<nnn>.jpg; return the number of pictures per split.

    `counts`: split → pictures of one class; `background` gets twice as many.
    """
    sightings = {"train": recording.train, "test": recording.test}
    classes = (*stamps.species, FILMED, BACKGROUND)
    written = dict.fromkeys(counts, 0)
    for done, (split, name) in enumerate((s, c) for s in counts for c in classes):
        (folder / split / name).mkdir(parents=True)
        seen = sightings[split]
        for number in range(counts[split] * (2 if name == BACKGROUND else 1)):
            random = stream(seed, "birds", split, name, number)
            if name == FILMED:
                # evenly over the whole span, so that rare poses are among them
                now = seen[number * len(seen) // counts[split]]
                picture = mirrored(region(now.image, now.bird, random), random)
            elif name == BACKGROUND and random.random() < 0.5:
                picture = mirrored(enlarged(empty_cage(seen, random), SIDE), random)
            else:
                cages = [empty_cage(seen, random)]
                picture = scene(random, cages, stamps.clutter[split])
                if name != BACKGROUND:
                    views = stamps.species[name]
                    picture = composite(views[number % len(views)], picture, random)
            (folder / split / name / f"{number:03d}.jpg").write_bytes(shoot(picture, random))
            written[split] += 1
        tick((done + 1) / (len(counts) * len(classes)))
    return written
