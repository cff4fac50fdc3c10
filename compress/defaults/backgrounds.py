"""What is behind a bird: sky, foliage, bark, boards, blurred lights, a cage, and things near by.

Every maker has the same form: (random) → BGR image [SIDE, SIDE, 3], float32 in 0…255.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from compress.defaults.pixels import (
    Canvas,
    Cutout,
    Image,
    blurred,
    enlarged,
    mirrored,
    mixed,
    over,
    premultiplied,
)

SIDE = 128  # pixels; a composite is cut to its final size afterwards

Maker = Callable[[np.random.Generator], Canvas]


def _colour(random: np.random.Generator, hue: tuple[float, float], value: float) -> Canvas:
    """A random BGR colour; hue in degrees, value 0…255."""
    saturation = random.uniform(0.1, 0.7)
    hsv = np.array([[[random.uniform(*hue) % 360, saturation, value / 255]]], np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0] * 255, np.float32)


def _texture(random: np.random.Generator, coarsest: int, stretch: float = 1.0) -> Canvas:
    """Noise in octaves [SIDE, SIDE], zero mean, unit variance; `stretch` makes it streaky."""
    sum_ = np.zeros((SIDE, SIDE), np.float32)
    cells, weight = coarsest, 1.0
    while cells <= SIDE:
        grid = random.standard_normal((cells, max(int(cells / stretch), 2))).astype(np.float32)
        sum_ += weight * cv2.resize(grid, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        cells, weight = cells * 2, weight * random.uniform(0.45, 0.8)
    return np.asarray((sum_ - sum_.mean()) / (sum_.std() + 1e-6), np.float32)


def gradient(random: np.random.Generator) -> Canvas:
    """Sky or a wall: two colours into one another, faintly uneven."""
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    share = np.clip((x * np.cos(angle) + y * np.sin(angle)) / 2.4 + 0.5, 0, 1)
    hue = (190, 230) if random.random() < 0.6 else (0, 360)
    first = _colour(random, hue, random.uniform(40, 255))
    second = _colour(random, hue, random.uniform(40, 255))
    uneven = random.uniform(0, 8) * _texture(random, 2)
    return mixed(first, second, share.astype(np.float32)) + uneven[..., None]


def foliage(random: np.random.Generator) -> Canvas:
    """Leaves and grass: green to brown textures in three shades."""
    hue = (60, 130) if random.random() < 0.7 else (20, 60)
    dark = _colour(random, hue, random.uniform(15, 80))
    middle = _colour(random, hue, random.uniform(70, 150))
    light = _colour(random, hue, random.uniform(130, 230))
    leaves = _texture(random, int(random.choice((4, 8, 16))))
    shade = mixed(dark, middle, np.clip(leaves * random.uniform(0.5, 2) + 0.5, 0, 1))
    sun = np.clip(_texture(random, int(random.choice((4, 8, 16)))) - random.uniform(0, 1), 0, 1)
    return mixed(shade, light, sun.astype(np.float32))


def bark(random: np.random.Generator) -> Canvas:
    """Bark, planks or stone: streaks of brown or grey."""
    hue = (15, 45)
    first = _colour(random, hue, random.uniform(30, 120))
    second = _colour(random, hue, random.uniform(90, 220))
    streaks = _texture(random, 4, stretch=random.uniform(1, 8))
    wood = mixed(first, second, np.clip(streaks * 0.4 + 0.5, 0, 1).astype(np.float32))
    if random.random() < 0.4:  # boards have joints
        for joint in np.arange(random.uniform(0, 30), SIDE, random.uniform(15, 45)):
            wood[:, int(joint) : int(joint) + int(random.integers(1, 4))] *= 0.4
    return np.ascontiguousarray(np.rot90(wood, int(random.integers(4))))


def lights(random: np.random.Generator) -> Canvas:
    """Out-of-focus garden: soft discs of light on a blurred ground."""
    ground = blurred(foliage(random), random.uniform(4, 12))
    for _ in range(int(random.integers(3, 25))):
        disc = np.zeros((SIDE, SIDE), np.float32)
        centre = (int(random.integers(SIDE)), int(random.integers(SIDE)))
        cv2.circle(disc, centre, int(random.integers(3, 18)), 1.0, -1)
        share = blurred(disc, 1.5) * random.uniform(0.1, 0.6)
        ground = mixed(ground, _colour(random, (0, 360), 240), share)
    return ground


MAKERS: tuple[Maker, ...] = (gradient, foliage, foliage, bark, lights)


def scene(random: np.random.Generator, cages: Sequence[Image], clutter: Sequence[Cutout]) -> Canvas:
    """A background with branches and things, sharp or out of focus; sometimes an empty cage."""
    if len(cages) and random.random() < 0.15:
        return mirrored(enlarged(cages[int(random.integers(len(cages)))], SIDE), random)
    canvas = MAKERS[int(random.integers(len(MAKERS)))](random)
    for _ in range(int(random.choice(4, p=(0.35, 0.35, 0.2, 0.1)))):
        if len(clutter) and random.random() < 0.7:
            thing = clutter[int(random.integers(len(clutter)))]
            canvas = with_thing(canvas, thing, random)
        else:
            canvas = with_branch(canvas, random)
    if random.random() < 0.6:
        canvas = blurred(canvas, random.uniform(0.5, 4.0))
    return np.clip(canvas, 0, 255)


def with_branch(canvas: Canvas, random: np.random.Generator) -> Canvas:
    """A twig, a perch or a wire across the picture."""
    start = (int(random.integers(-20, SIDE + 20)), int(random.integers(-20, SIDE + 20)))
    angle = random.uniform(0, np.pi)
    end = (int(start[0] + 300 * np.cos(angle)), int(start[1] + 300 * np.sin(angle)))
    start = (int(start[0] - 300 * np.cos(angle)), int(start[1] - 300 * np.sin(angle)))
    share = np.zeros((SIDE, SIDE), np.float32)
    cv2.line(share, start, end, 1.0, int(random.integers(1, 12)), cv2.LINE_AA)
    wood = _colour(random, (10, 50), random.uniform(20, 220))
    grain = wood + 10 * _texture(random, 8)[..., None]
    return mixed(canvas, grain, share)


def with_thing(canvas: Canvas, thing: Cutout, random: np.random.Generator) -> Canvas:
    """A cut-out photograph of a plant, fruit, insect or animal anywhere in the picture."""
    height, width = thing.shape[:2]
    scale = SIDE * random.uniform(0.25, 1.2) / max(height, width)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), random.uniform(-40, 40), scale)
    turn[:, 2] += random.uniform(0, SIDE, 2) - (width / 2, height / 2)
    layer = cv2.warpAffine(premultiplied(thing), turn, (SIDE, SIDE))
    return over(canvas, np.asarray(layer, np.float32))
