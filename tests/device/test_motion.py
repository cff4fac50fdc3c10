"""The gate sees birds, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from device import camera
from device.config import Motion
from device.images import Box, Image
from device.motion import MotionGate
from tests.scenes import BLUE, GREEN, RED, Feeder, disc_box, frame, overlap

Watch = Callable[[Image], list[Box]]


@pytest.fixture
def feeder() -> Feeder:
    return Feeder()


def watcher(config: Motion | None = None, step: float = 0.1) -> Watch:
    """A gate that sees ten pictures per second."""
    gate, time = MotionGate(config or Motion()), 0.0

    def watch(picture: Image) -> list[Box]:
        nonlocal time
        time += step
        return [region.box for region in gate(frame(picture, time))]

    return watch


@pytest.fixture
def watch(feeder: Feeder) -> Watch:
    """A gate that has learned the empty feeder."""
    watch = watcher()
    for _ in range(15):
        assert watch(feeder.picture()) == []
    return watch


def test_empty_feeder_gives_nothing(feeder: Feeder, watch: Watch) -> None:
    assert [watch(feeder.picture()) for _ in range(60)] == [[]] * 60


def test_bird_is_boxed_wherever_it_goes(feeder: Feeder, watch: Watch) -> None:
    for x in range(40, 280, 12):
        (box,) = watch(feeder.picture((x, 100, RED)))
        assert overlap(box, disc_box(x, 100)) > 0.6


def test_boxes_are_in_pixels_of_the_full_frame(feeder: Feeder) -> None:
    watch = watcher()
    for k in range(16):
        picture = feeder.picture(*[(200, 100, RED)] * (k == 15))
        boxes = watch(cv2.resize(picture, (1280, 960), interpolation=cv2.INTER_CUBIC))

    (box,) = boxes
    assert overlap(box, Box(4 * 180, 4 * 80, 4 * 221, 4 * 121)) > 0.6


def test_bird_that_sits_still_stays_in_view(feeder: Feeder, watch: Watch) -> None:
    for _ in range(150):
        (box,) = watch(feeder.picture((160, 120, RED)))
        assert overlap(box, disc_box(160, 120)) > 0.6


def test_nothing_remains_when_it_has_left(feeder: Feeder, watch: Watch) -> None:
    for _ in range(100):
        watch(feeder.picture((160, 120, RED)))

    assert [watch(feeder.picture()) for _ in range(30)] == [[]] * 30


def test_bird_there_from_the_start_leaves_no_ghost(feeder: Feeder) -> None:
    watch = watcher()
    for _ in range(30):
        assert watch(feeder.picture((160, 120, RED))) == []

    assert [watch(feeder.picture()) for _ in range(30)] == [[]] * 30
    (box,) = watch(feeder.picture((160, 120, RED)))  # and the place is not blind afterwards
    assert overlap(box, disc_box(160, 120)) > 0.6


def test_bird_there_from_the_start_is_seen_when_it_hops(feeder: Feeder) -> None:
    watch = watcher()
    for _ in range(30):
        watch(feeder.picture((100, 120, RED)))

    (box,) = watch(feeder.picture((220, 120, RED)))
    assert overlap(box, disc_box(220, 120)) > 0.6


def test_two_birds_are_two_regions(feeder: Feeder, watch: Watch) -> None:
    found = watch(feeder.picture((80, 100, GREEN), (240, 140, BLUE)))

    assert len(found) == 2
    for place in (disc_box(80, 100), disc_box(240, 140)):
        assert max(overlap(box, place) for box in found) > 0.6


@pytest.mark.parametrize("light", [0.6, 0.8, 1.25, 1.5])
def test_cloud_is_not_a_bird(feeder: Feeder, watch: Watch, light: float) -> None:
    assert [watch(feeder.picture(light=light)) for _ in range(30)] == [[]] * 30


def test_bird_is_seen_while_the_light_changes(feeder: Feeder, watch: Watch) -> None:
    (box,) = watch(feeder.picture((160, 120, GREEN), light=0.7))
    assert overlap(box, disc_box(160, 120)) > 0.6


def test_turned_camera_is_a_new_scene() -> None:
    """Everything has changed: no bird, and soon the new place is known."""
    before, after, watch = Feeder(1, 0, 250), Feeder(7, 0, 250), watcher(Motion(max_area=0.7))
    for _ in range(15):
        watch(before.picture())

    assert [watch(after.picture()) for _ in range(60)] == [[]] * 60
    assert len(watch(after.picture((160, 120, RED)))) == 1


def test_what_stays_becomes_background(feeder: Feeder) -> None:
    watch = watcher(Motion(patience=2))
    for _ in range(15):
        watch(feeder.picture())
    for _ in range(100):
        boxes = watch(feeder.picture((160, 120, RED)))

    assert boxes == []


def test_leaves_that_always_move_are_learned(feeder: Feeder) -> None:
    """A fifth of the picture flickers by far more than the threshold."""
    watch, random, seen = watcher(Motion(memory=2, patience=5)), np.random.default_rng(3), []
    for _ in range(15):
        watch(feeder.picture())
    for _ in range(150):  # the wind begins
        picture = feeder.picture().astype(int)
        leaves = np.kron(random.integers(-40, 40, (6, 12)), np.ones((8, 8), int))
        picture[:48, :96] += leaves[..., None]
        seen.append(watch(np.clip(picture, 0, 255).astype(np.uint8)))

    assert sum(map(len, seen[:50])) > 10  # it is a hard scene
    assert sum(map(len, seen[100:])) <= 2
    (box,) = watch(feeder.picture((220, 160, RED)))
    assert overlap(box, disc_box(220, 160)) > 0.6


def test_regions_are_limited_largest_first(feeder: Feeder) -> None:
    watch = watcher(Motion(max_regions=2))
    for _ in range(15):
        watch(feeder.picture())
    birds = [(x, y, RED) for x in (40, 160, 280) for y in (50, 190)]

    assert len(watch(feeder.picture(*birds))) == 2


def test_changed_frame_size_starts_anew(feeder: Feeder, watch: Watch) -> None:
    small = feeder.picture()[::2, ::3].copy()
    assert [watch(small) for _ in range(15)] == [[]] * 15


def test_real_nest_box(data_folder: Path) -> None:
    """Every tit of 15 stills is seen, none of 24 empty stills gives anything."""
    folder = data_folder / "birds" / "nestbox"
    empty = [cv2.imread(str(path)) for path in sorted((folder / "empty").iterdir())]
    watch = watcher()
    for _ in range(15):
        watch(empty[0])
    for picture in empty[1:]:
        assert watch(picture) == []
    for path in sorted((folder / "bird").iterdir()):
        fresh = watcher()
        for _ in range(15):
            fresh(empty[0])
        assert fresh(cv2.imread(str(path))), path.name


def test_real_zebra_finch(data_folder: Path) -> None:
    """There from the start; it hops away in frame 76 and is hardly ever lost from then on."""
    video = data_folder / "video" / "zebrafinch" / "zf20s_640.mp4"
    gate = MotionGate(Motion())
    after = [len(gate(picture)) for picture in camera.connect(str(video), pace=False)][77:]

    assert set(after) <= {0, 1}
    assert sum(after) > 0.95 * len(after)
