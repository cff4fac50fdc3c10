"""npz shards: read, refused, and a whole recipe on them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from compress import cifar, images, recipe
from compress.augment import Augment, Shift, view
from compress.tasks import birds
from device.errors import BadInputError

NAMES = ("cat", "automobile")


def _shard(path: Path, labels: list[int], seed: int) -> None:
    """Noise, brighter where the label is 1."""
    random = np.random.default_rng(seed)
    encoded = []
    for label in labels:
        image = random.integers(0, 100, (32, 32, 3), np.uint8) + np.uint8(120 * label)
        encoded.append(cv2.imencode(".png", image)[1].tobytes())
    offsets = np.cumsum([0, *map(len, encoded)])
    blob = np.frombuffer(b"".join(encoded), np.uint8)
    np.savez(path, blob=blob, offsets=offsets, labels=np.array(labels), names=np.array(NAMES))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cifar10").mkdir()
    _shard(tmp_path / "cifar10/cifar10_train_00.npz", [0, 1, 0], 0)
    _shard(tmp_path / "cifar10/cifar10_train_01.npz", [1, 1, 0, 0, 1], 1)
    _shard(tmp_path / "cifar10/cifar10_test_00.npz", [1, 0], 2)
    return tmp_path / "cifar10"


def test_shards_are_read_in_order(folder: Path) -> None:
    pattern = folder / "cifar10_train_*.npz"
    classes = images.class_names([pattern])
    assert classes == ("automobile", "cat")  # sorted, as of folders
    photos = images.read([pattern], classes, 64)
    assert photos.labels.tolist() == [1, 0, 1, 0, 0, 1, 1, 0]
    bright = [int(image.mean() > 110) for image in photos.images]
    assert bright == [1 - label for label in photos.labels]
    assert all(image.shape == (32, 32, 3) for image in photos.images)


def test_the_fingerprint_follows_the_content(folder: Path) -> None:
    pattern = folder / "cifar10_train_*.npz"
    before = images.read([pattern], NAMES, 64).fingerprint
    assert images.read([pattern], NAMES, 64).fingerprint == before
    _shard(folder / "cifar10_train_01.npz", [1, 1, 0, 0, 1], 3)
    assert images.read([pattern], NAMES, 64).fingerprint != before


def test_shards_and_folders_mix(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own/dog").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "own/dog/a.png"), np.zeros((40, 40, 3), np.uint8))
    sources = [folder / "cifar10_test_*.npz", tmp_path / "own"]
    classes = images.class_names(sources)
    assert classes == ("automobile", "cat", "dog")
    assert images.read(sources, classes, 64).labels.tolist() == [0, 1, 2]


def test_what_is_wrong_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"other_\*\.npz: no such file: expected npz shards"):
        cifar.class_names(folder / "other_*.npz")
    path = folder / "cifar10_train_01.npz"
    with np.load(path) as stored:
        content = dict(stored)
    np.savez(path, **{**content, "offsets": content["offsets"][:-1]})
    with pytest.raises(BadInputError, match=r"01\.npz: blob, offsets, labels and names do not"):
        list(cifar.read(folder / "cifar10_train_*.npz"))
    np.savez(path, **{**content, "names": np.array(["one", "other"])})
    with pytest.raises(BadInputError, match=r"do not name the same classes"):
        cifar.class_names(folder / "cifar10_train_*.npz")
    np.save(tmp_path / "plain.npy", np.arange(3))
    for broken in (b"PK and nothing more", (tmp_path / "plain.npy").read_bytes()):
        path.write_bytes(broken)
        with pytest.raises(BadInputError, match=r"01\.npz: not readable as npz shards"):
            list(cifar.read(folder / "cifar10_train_*.npz"))


def test_an_unreadable_image_is_named(folder: Path) -> None:
    path = folder / "cifar10_test_00.npz"
    with np.load(path) as stored:
        content = dict(stored)
    content["blob"] = np.zeros_like(content["blob"])
    np.savez(path, **content)
    with pytest.raises(BadInputError, match=r"cifar10_test_00\.npz/0: not a readable image"):
        images.read([folder / "cifar10_test_*.npz"], NAMES, 64)


def test_shards_without_an_image_are_refused(folder: Path) -> None:
    path = folder / "cifar10_test_00.npz"
    with np.load(path) as stored:
        content = dict(stored)
    np.savez(path, **{**content, "offsets": np.zeros(1, int), "labels": np.zeros(0, int)})
    with pytest.raises(BadInputError, match=r"test_\*\.npz: no photo .* npz shards"):
        images.read([folder / "cifar10_test_*.npz"], NAMES, 64)


@pytest.mark.parametrize("options", [Shift(pad=1, mirror=0), Augment(mirror=0, colour=0.1)])
def test_cutout_greys_a_square_that_may_reach_over_the_edge(options: Augment | Shift) -> None:
    image = np.full((16, 16, 3), 200, np.uint8)
    sizes = set()
    for seed in range(30):
        whole, cut = (
            view(
                image,
                16,
                options.model_copy(update={"cutout": side}),
                np.random.default_rng(seed),
            )
            for side in (0, 6)
        )
        rows, columns = np.nonzero((cut != whole).all(2))
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # one rectangle
        assert (cut[rows, columns] == 127).all()
        sizes.add(len(rows))
    assert max(sizes) == 36
    assert min(sizes) < 36
    assert (image == 200).all()  # the photo itself stays whole


def test_a_shift_moves_the_image_over_a_grey_border() -> None:
    image = np.full((8, 8, 3), 255, np.uint8)
    image[2, 5] = 0
    found = set()
    for seed in range(200):
        moved = view(image, 8, Shift(pad=2, mirror=0), np.random.default_rng(seed))
        assert set(np.unique(moved)) <= {0, 127, 255}
        rows, columns = np.nonzero((moved == 0).all(2))
        found.add((int(rows[0]) - 2, int(columns[0]) - 5))
    assert found == {(row, column) for row in range(-2, 3) for column in range(-2, 3)}


@pytest.mark.parametrize("name", ["cifar10-resnet20", "cifar10-vgg16"])
def test_shipped_recipes_run_on_shards(name: str, folder: Path) -> None:
    settings = recipe.load(name).settings
    task = birds.make(settings, (folder.parent,), 0)
    assert task.labels == ("automobile", "cat")
    assert (len(task.train), len(task.validation)) == (6, 2)
    assert task.final_split() == "test"
    assert task.example().shape == (1, 3, 32, 32)
    net = task.build().eval()
    assert net(task.example()).shape == (1, 2)
    assert set(task.evaluate(net, "test").scores) == {"top1", "top5"}
