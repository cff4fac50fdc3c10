"""Photos in folders: read, refused, split, resized as on the device."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from compress import images, recipe
from compress.augment import Augment, view
from device import images as device_images
from device.errors import BadInputError
from device.manifest import ImageInput
from tests.compress import shapes

CLASSES = tuple(shapes.COLOURS)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes.make_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return shapes.make_folder(tmp_path / "own", train=2, test=1) / "train"


def test_labels_are_folder_names_in_order(root: Path) -> None:
    photos = images.read([root / "train"], images.class_names([root / "train"]), 64)
    assert images.class_names([root / "train"]) == ("blue", "green", "red")
    assert np.bincount(photos.labels).tolist() == [12, 12, 12]
    for image, label in zip(photos.images, photos.labels, strict=True):
        # RGB: the disc's own channel is the strongest one
        assert image.mean((0, 1)).argmax() == {"red": 0, "green": 1, "blue": 2}[CLASSES[label]]


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_an_unreadable_photo_is_named(own: Path, content: bytes) -> None:
    (own / "red" / "broken.jpg").write_bytes(content)
    with pytest.raises(BadInputError, match=r"broken\.jpg: not a readable image"):
        images.read([own], CLASSES, 64)


def test_a_class_without_a_photo_is_refused(own: Path) -> None:
    for path in (own / "green").iterdir():
        path.unlink()
    with pytest.raises(BadInputError, match=r"green: no image"):
        images.read([own], CLASSES, 64)


def test_photos_beside_the_class_folders_are_counted_aloud(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = images.read([own], CLASSES, 64)
    assert capsys.readouterr().out == ""
    for name in ("a.png", "b.png"):
        (own / name).write_bytes((own / "red" / "00.png").read_bytes())
    (own / "notes.txt").write_text("no photo")
    assert images.read([own], CLASSES, 64).fingerprint == before.fingerprint
    said = f"{own}: left out, since beside the class folders: 2 photos\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("loose", [True, False])
def test_every_folder_must_hold_photos_in_class_folders(
    own: Path, tmp_path: Path, loose: bool
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    if loose:  # a photo, but of which class?
        (flat / "00.png").write_bytes((own / "red" / "00.png").read_bytes())
    with pytest.raises(BadInputError, match=r"flat: no photo .* one sub-folder of photos per"):
        images.read([own, flat], CLASSES, 64)


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    with pytest.raises(BadInputError, match=r"found 1 classes"):
        images.class_names([tmp_path])


def test_a_test_class_unknown_to_training_is_refused(root: Path) -> None:
    with pytest.raises(BadInputError, match=r"red: a class that the training data does not have"):
        images.read([root / "test"], ("blue", "green"), 64)


def test_the_fingerprint_follows_the_content(own: Path) -> None:
    before = images.read([own], CLASSES, 64).fingerprint
    assert images.read([own], CLASSES, 64).fingerprint == before
    path = own / "red" / "00.png"
    path.write_bytes((own / "blue" / "00.png").read_bytes())
    assert images.read([own], CLASSES, 64).fingerprint != before


def test_validation_is_a_share_of_every_class_and_apart_from_training(root: Path) -> None:
    photos = images.read([root / "train"], CLASSES, 64)
    train, held = images.split(photos, CLASSES, 0.25, seed=1)
    assert np.bincount(train.labels).tolist() == [9, 9, 9]
    assert np.bincount(held.labels).tolist() == [3, 3, 3]
    assert not {id(image) for image in train.images} & {id(image) for image in held.images}
    again = images.split(photos, CLASSES, 0.25, seed=1)[1]
    other = images.split(photos, CLASSES, 0.25, seed=2)[1]
    assert [id(i) for i in again.images] == [id(i) for i in held.images]
    assert [id(i) for i in other.images] != [id(i) for i in held.images]


def test_a_class_of_one_photo_is_named(own: Path) -> None:
    (own / "green" / "01.png").unlink()
    photos = images.read([own], CLASSES, 64)
    with pytest.raises(BadInputError, match=r"class green: has one photo only: .* add another"):
        images.split(photos, CLASSES, 0.25, seed=1)


@pytest.mark.parametrize("shape", [(24, 24), (90, 40), (20, 200)])
def test_resizing_is_what_the_device_does(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    spec = ImageInput(height=32, width=32, mean=(0, 0, 0), std=(1, 1, 1))
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.uint8)
    assert np.array_equal(images.resize(image, 32, 32), device_images.preprocess(bgr, spec)[0])


def _read_one(folder: Path, name: str, picture: np.ndarray) -> images.Image:
    (folder / "a").mkdir(exist_ok=True)
    path = folder / "a" / name
    assert cv2.imwrite(str(path), picture)
    return images.read([folder], ("a",), 64).images[0]


@pytest.mark.parametrize(("name", "deep"), [("x.png", False), ("x.png", True), ("x.webp", False)])
def test_transparency_is_what_the_device_sees(tmp_path: Path, name: str, deep: bool) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 4), np.uint8)
    picture[:10, :, 3] = 0  # the colour hidden here must not show
    found = _read_one(tmp_path, name, picture.astype(np.uint16) * 257 if deep else picture)
    assert np.array_equal(found[..., ::-1], device_images.read(tmp_path / "a" / name))
    assert (found[:10] == 128).all()


@pytest.mark.parametrize("name", ["x.png", "x.webp", "x.jpg", "x.bmp"])
@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3)])
def test_a_photo_without_alpha_is_decoded_as_it_is(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = _read_one(tmp_path, name, picture)
    plain = cv2.imread(str(tmp_path / "a" / name), cv2.IMREAD_COLOR_BGR)
    assert plain is not None
    assert np.array_equal(found[..., ::-1], plain)


def test_a_large_photo_is_kept_small(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "x.png"), np.zeros((100, 300, 3), np.uint8))
    photos = images.read([tmp_path], ("a", "b"), 60)
    assert photos.images[0].shape == (20, 60, 3)


@pytest.mark.parametrize(
    ("area", "side"), [(None, 32), (0.4, 32), (0.25, 32), (0.16, 40), (0.08, 57), (0.01, 64)]
)
def test_photos_stay_large_enough_for_the_smallest_crop(
    tmp_path: Path, area: float | None, side: int
) -> None:
    shapes.make_folder(tmp_path / "shapes")
    photo = tmp_path / "shapes" / "train" / "red" / "00.png"
    cv2.imwrite(str(photo), np.zeros((150, 200, 3), np.uint8))
    path = shapes.write_recipe(tmp_path / "shapes.toml")
    changes = "[augment]\npad = 2\n" if area is None else f"[augment]\narea = [{area}, 1.0]\n"
    path.write_text(path.read_text() + changes)
    task = shapes.make_task(tmp_path, path)
    assert max(max(one.shape) for one in (*task.train.images, *task.validation.images)) == side


def test_a_view_is_the_same_for_the_same_seed(root: Path) -> None:
    photo = images.read([root / "train"], CLASSES, 64).images[0]
    first = view(photo, 16, Augment(), np.random.default_rng(3))
    assert first.shape == (16, 16, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, view(photo, 16, Augment(), np.random.default_rng(3)))
    assert not np.array_equal(first, view(photo, 16, Augment(), np.random.default_rng(4)))


def test_without_changes_a_view_is_the_photo(root: Path) -> None:
    photo = images.read([root / "train"], CLASSES, 64).images[0]
    none = Augment(area=(1.0, 1.0), aspect=1.0, mirror=0, colour=0, coarse=0)
    same = view(photo, 16, none, np.random.default_rng(0))
    assert np.array_equal(same, images.resize(photo, 16, 16))


def test_an_aspect_of_zero_is_off_as_one_is(root: Path) -> None:
    photo = images.read([root / "train"], CLASSES, 64).images[0]
    off, one, wide = (
        view(photo, 16, Augment(aspect=aspect), np.random.default_rng(3)) for aspect in (0, 1, 2)
    )
    assert np.array_equal(off, one)
    assert not np.array_equal(off, wide)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"area": [0, 0]}, "greater than 0"),
        ({"area": [0.5, 1.5]}, "less than or equal to 1"),
        ({"area": [1.0, 0.4]}, r"1 is above 0\.4: give the lower one first"),
        ({"coarse_side": [96, 24]}, "96 is above 24: give the lower one first"),
        ({"coarse_side": [0, 24]}, "greater than 0"),
        ({"aspect": -1}, "greater than or equal to 0"),
        ({"colour": -0.1}, "greater than or equal to 0"),
    ],
)
def test_changes_that_cannot_be_are_refused(table: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Augment.model_validate(table)


def test_a_recipe_with_such_a_change_is_refused_before_data_is_read(tmp_path: Path) -> None:
    path = shapes.write_recipe(tmp_path / "shapes.toml")
    path.write_text(path.read_text() + "[augment]\ncoarse_side = [96, 24]\n")
    with pytest.raises(BadInputError, match=r"shapes\.toml: augment\..*coarse_side: .*lower one"):
        recipe.load(str(path))


def test_brightness_scales_all_channels_alike() -> None:
    grey = np.full((16, 16, 3), 100, np.uint8)
    options = Augment(area=(1.0, 1.0), aspect=1.0, mirror=0, colour=0.3, coarse=0)
    values = {
        tuple(view(grey, 16, options, np.random.default_rng(seed))[0, 0]) for seed in range(20)
    }
    assert len(values) > 10
    # a grey photo has no colour to change, and contrast keeps its mean: only brightness is left
    assert all(max(value) - min(value) <= 1 and 69 <= min(value) <= 131 for value in values)
