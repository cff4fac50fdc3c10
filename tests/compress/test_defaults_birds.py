"""Composites, camera and the finch's recording."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from compress.defaults import birds, camera, recording
from compress.defaults.backgrounds import MAKERS, SIDE, Maker, scene
from compress.defaults.pixels import over, premultiplied
from compress.defaults.recording import Box
from compress.defaults.seeds import stream
from device.errors import BadInputError
from tests.compress import tiny_packages


def test_streams_repeat_and_differ_by_every_name() -> None:
    drawn = [
        stream(*names).integers(0, 2**62)
        for names in [(0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1), (0, "a", "1")]
    ]
    assert stream(0, "a", 1).integers(0, 2**62) == drawn[0]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("maker", MAKERS)
def test_every_background_is_a_finite_picture(maker: Maker) -> None:
    pictures = [maker(stream(0, "test", number)) for number in range(5)]
    for picture in pictures:
        assert picture.shape == (SIDE, SIDE, 3)
        assert np.isfinite(picture).all()
    assert np.std(pictures) > 5  # varied, and not one grey


def test_the_bird_covers_what_it_should() -> None:
    bird = np.zeros((30, 60, 4), np.uint8)
    bird[...] = (0, 0, 255, 255)  # all red, no hole
    behind = np.zeros((SIDE, SIDE, 3), np.float32)
    spans = []
    for number in range(60):
        picture = birds.composite(bird, behind.copy(), stream(0, "cover", number))
        seen = picture[..., 2] > 60
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        spans.append(max(np.ptp(rows), np.ptp(columns)) / SIDE)
    assert min(spans) > 0.35  # a half, less what is outside the picture and the tilt
    assert np.median(spans) > 0.6
    assert max(spans) <= 1.0


def test_a_transparent_layer_changes_nothing_and_an_opaque_one_everything() -> None:
    canvas = np.full((4, 4, 3), 100, np.float32)
    glass = np.zeros((4, 4, 4), np.uint8)
    glass[..., 0] = 200  # a colour under alpha 0 must not shine through
    np.testing.assert_array_equal(over(canvas, premultiplied(glass)), canvas)
    glass[..., 3] = 255
    np.testing.assert_allclose(over(canvas, premultiplied(glass))[..., 0], 200)


def test_the_camera_makes_jpeg_of_96_pixels() -> None:
    canvas = scene(stream(0, "scene"), [], [])
    content = camera.shoot(canvas, stream(0, "camera"))
    assert content[:2] == b"\xff\xd8"
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (camera.SIZE, camera.SIZE, 3)
    assert content == camera.shoot(canvas, stream(0, "camera"))


def test_a_species_without_its_photograph_is_named() -> None:
    files = tiny_packages.stamps()
    del files["animals/birds/owl.png"]
    with pytest.raises(BadInputError, match=r"animals/birds/owl\.png is missing"):
        birds.read_stamps(files)


def test_a_photograph_without_alpha_is_refused() -> None:
    files = tiny_packages.stamps()
    files["animals/birds/crow.png"] = tiny_packages.png(np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(BadInputError, match=r"crow\.png is missing or no cut-out"):
        birds.read_stamps(files)


def test_clutter_is_parted_between_training_and_test() -> None:
    stamps = birds.read_stamps(tiny_packages.stamps())
    seen = {split: {c.tobytes() for c in cutouts} for split, cutouts in stamps.clutter.items()}
    assert seen["train"]
    assert seen["test"]
    assert not seen["train"] & seen["test"]


@pytest.fixture(scope="module")
def video() -> recording.Video:
    return recording.decode(tiny_packages.video())


def test_the_bird_is_found_where_it_was_drawn(video: recording.Video) -> None:
    found = recording.find_bird(video)
    first_test = int(recording.TEST[0] * tiny_packages.FRAMES)
    assert len(found.train) == int(recording.TRAIN[1] * tiny_packages.FRAMES)
    assert len(found.test) == int(recording.TEST[1] * tiny_packages.FRAMES) - first_test
    numbered = [*enumerate(found.train), *enumerate(found.test, first_test)]
    for number, sighting in numbered:
        box = sighting.bird
        x, y = tiny_packages.place(number)
        assert abs(box.left + box.width / 2 - x) < 4, number
        assert abs(box.top + box.height / 2 - y) < 4, number
        assert 20 <= box.width <= 40


def test_training_test_and_demo_share_no_frame(video: recording.Video, tmp_path: Path) -> None:
    train, test, demo = (
        {id(image) for image in video.part(share)}
        for share in (recording.TRAIN, recording.TEST, recording.DEMO)
    )
    assert train
    assert test
    assert not train & test
    assert not (train | test) & demo
    path = tmp_path / "demo.mp4"
    assert recording.write_demo(video, path) == len(demo) == tiny_packages.FRAMES // 2
    reader = cv2.VideoCapture(str(path))
    read, image = reader.read()
    assert read
    difference = image.astype(int) - video.part(recording.DEMO)[0]
    assert np.sqrt(np.mean(np.square(difference))) < 6  # what the encoder may lose
    assert reader.get(cv2.CAP_PROP_FPS) == 25
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) == tiny_packages.FRAMES // 2


def test_an_empty_cage_has_no_bird(video: recording.Video) -> None:
    found = recording.find_bird(video)
    dark = [
        (birds.empty_cage(found.train, stream(0, "cage", number)).max(axis=2) < 100).sum()
        for number in range(100)
    ]
    assert max(dark) == 0
    with_bird = birds.region(found.train[0].image, found.train[0].bird, stream(0, "bird"))
    assert (with_bird.max(axis=2) < 100).mean() > 0.1


def test_a_video_that_cannot_be_decoded_is_one_line() -> None:
    with pytest.raises(BadInputError, match="zebra finch video cannot be decoded"):
        recording.decode(b"\0" * 1000)


def test_boxes_overlap() -> None:
    box = Box(10, 10, 5, 5)
    assert box.overlaps(Box(14, 14, 5, 5))
    assert not box.overlaps(Box(15, 10, 5, 5))
    assert not box.overlaps(Box(10, 15, 5, 5))
