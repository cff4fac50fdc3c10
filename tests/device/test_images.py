"""Boxes, crops and decoding."""

import struct
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device import images
from device.errors import BadInputError
from device.images import Box
from device.manifest import ImageInput

IDENTITY = ImageInput(height=8, width=8, mean=(0, 0, 0), std=(1, 1, 1))


def bird(width: int, height: int) -> images.Image:
    random = np.random.default_rng(1)
    return random.integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [120, 200])
@pytest.mark.parametrize(
    "place",
    [
        (300, 200),
        (900, 200),
        (300, 460),
        (900, 460),
        (640, 360),
        (141, 141),
        (1031, 470),
        (601, 333),
    ],
)
def test_crop_is_the_same_wherever_the_bird_sits(size: int, place: tuple[int, int]) -> None:
    picture = bird(size, size - 30)
    x, y = place
    scene = np.full((720, 1280, 3), 128, np.uint8)
    scene[y : y + size - 30, x : x + size] = picture
    box = Box(x, y, x + size, y + size - 30)
    reference = np.full((720, 1280, 3), 128, np.uint8)
    reference[301 : 301 + size - 30, 501 : 501 + size] = picture
    moved = Box(501, 301, 501 + size, 301 + size - 30)

    found = images.crop(scene, images.square(box, 1.25, 1280, 720))

    np.testing.assert_array_equal(
        found, images.crop(reference, images.square(moved, 1.25, 1280, 720))
    )
    assert found.shape == (round(1.25 * size), round(1.25 * size), 3)


boxes = st.tuples(
    st.integers(0, 639), st.integers(0, 479), st.integers(1, 640), st.integers(1, 480)
).map(lambda t: Box(t[0], t[1], min(640, t[0] + t[2]), min(480, t[1] + t[3])))


@given(boxes, st.floats(1, 3))
def test_square_lies_inside_and_holds_the_box(box: Box, margin: float) -> None:
    around = images.square(box, margin, 640, 480)

    assert 0 <= around.x0 < around.x1 <= 640
    assert 0 <= around.y0 < around.y1 <= 480
    side = round(margin * max(box.width, box.height))
    assert (around.width, around.height) == (min(side, 640), min(side, 480))
    assert around.x0 <= box.x0 + 1 and box.x1 - 1 <= around.x1  # rounding of the centre
    assert around.y0 <= box.y0 + 1 and box.y1 - 1 <= around.y1


@given(boxes, boxes)
def test_shared_area_is_counted_pixels(one: Box, other: Box) -> None:
    mask = np.zeros((480, 640), int)
    for box in (one, other):
        mask[box.y0 : box.y1, box.x0 : box.x1] += 1

    assert one.shared(other) == other.shared(one) == (mask == 2).sum()
    joined = one.joined(other)
    ys, xs = np.nonzero(mask)
    assert joined == Box(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def test_preprocess_is_rgb_normalised_and_stretched() -> None:
    picture = np.zeros((30, 50, 3), np.uint8)
    picture[:] = (10, 20, 30)  # BGR
    spec = ImageInput(height=4, width=6, mean=(1, 2, 3), std=(2, 4, 8))

    tensor = images.preprocess(picture, spec)

    assert tensor.shape == (1, 4, 6, 3) and tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0, 0, 0], [(30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8])


def test_shrinking_averages_every_pixel() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200  # an interpolation of neighbours alone would see 0 or 200

    tensor = images.preprocess(stripes, IDENTITY)

    np.testing.assert_allclose(tensor, 100, atol=1)


def test_grey_alpha_and_sixteen_bits_become_bgr(tmp_path: Path) -> None:
    grey = np.full((4, 5), 70, np.uint8)
    clear = np.dstack([np.full((4, 5, 3), 200, np.uint8), np.zeros((4, 5), np.uint8)])
    deep = np.dstack([np.full((4, 5, 3), 65535, np.uint16), np.full((4, 5), 65535, np.uint16)])
    for name, picture in (("grey", grey), ("clear", clear), ("deep", deep)):
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), picture)

    assert (images.read(tmp_path / "grey.png") == 70).all()
    assert (images.read(tmp_path / "clear.png") == 128).all()  # nothing of it shows
    assert (images.read(tmp_path / "deep.png") == 255).all()
    assert images.read(tmp_path / "grey.png").shape == (4, 5, 3)


def test_photo_is_turned_as_exif_says(tmp_path: Path) -> None:
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, :40] = 255  # left half white
    content = images.jpeg(picture)
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)  # turn right
    segment = b"Exif\0\0" + tiff
    marker = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    path = tmp_path / "turned.jpg"
    path.write_bytes(content[:2] + marker + content[2:])

    turned = images.read(path)

    assert turned.shape == (80, 40, 3)
    assert turned[:30].mean() > 240 and turned[50:].mean() < 15  # left is now up


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_unreadable_picture_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.jpg"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(BadInputError, match=r"x\.jpg"):
        images.read(path)


@pytest.mark.parametrize(
    ("suffix", "channels", "kind"),
    [
        *product(["tif"], [1, 3, 4], ["float32", "float64", "int8", "int16", "int32"]),
        *product(["pfm"], [1, 3], ["float32"]),
    ],
)
def test_pixels_without_a_known_white_are_refused(
    tmp_path: Path, suffix: str, channels: int, kind: str
) -> None:
    path = tmp_path / f"x.{suffix}"
    assert cv2.imwrite(str(path), np.full((4, 5, channels), 0.5).astype(kind))

    with pytest.raises(BadInputError, match=rf"x\.{suffix}: pixels are {kind}: save it with 8 or"):
        images.read(path)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_eight_and_sixteen_bits_are_read(tmp_path: Path, channels: int, kind: str) -> None:
    white = np.full((4, 5, channels), np.iinfo(kind).max).astype(kind)
    assert cv2.imwrite(str(tmp_path / "x.tif"), white)
    assert (images.read(tmp_path / "x.tif") == 255).all()


def test_folder_is_not_a_picture(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="directory"):
        images.read(tmp_path)
