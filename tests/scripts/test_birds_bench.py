"""Bird classifiers side by side: accuracy by hand, and a run with real bundles."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from compress.uint8_classifier import Uint8Classifier
from device import bundle
from device.errors import BadInputError
from scripts import birds_bench


def test_accuracy_counts_first_and_first_five() -> None:
    species = tuple("abcdefg")
    scores = np.array([[7, 6, 5, 4, 3, 2, 1], [1, 7, 6, 5, 4, 3, 2], [0, 0, 0, 0, 0, 1, 0]], float)
    assert birds_bench.accuracy(scores, ["a", "f", "f"], species) == (66.67, 100.0)
    assert birds_bench.accuracy(scores, ["g", "a", "a"], species) == (0.0, 33.33)


@pytest.fixture
def photos(classifier: Path, tmp_path: Path) -> Path:
    """A folder for each label of the colours' classifier, and one that it does not know."""
    folder = tmp_path / "photos"
    random = np.random.default_rng(0)
    for name in (*bundle.read(classifier).labels, "Dodo"):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            picture = random.integers(0, 256, (40, 50, 3), np.uint8)
            cv2.imwrite(str(folder / name / f"{index}.png"), picture)
    return folder


def test_a_run_scores_and_times_everybody_in_turns(
    classifier: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    birds_bench.main([classifier, classifier], photos, out, rounds=3)
    report = json.loads((out / "report.json").read_text())
    one, other = report["rows"]
    labels = bundle.read(classifier).labels
    assert report["photos"] == 3 * (len(labels) + 1) and report["common_photos"] == 3 * len(labels)
    assert one["known_photos"] == 3 * len(labels)  # nobody is asked for a species it cannot say
    assert one["known"] == other["known"] == one["common_all"] == one["common_only"]
    assert one["faster"] == [1.0, 1.0, 1.0] and other["p50_ms"] > 0
    text = (out / "table.md").read_text()
    assert text in capsys.readouterr().out and text.count("\n") == 4
    assert "<svg" in (out / "pareto.svg").read_text()


def test_a_published_model_is_scored_beside_ours(data_folder: Path, tmp_path: Path) -> None:
    """The 964-species model on a few photos: those its page names, and some of cub100."""
    peer = data_folder / "peers/coral_inat"
    model, labels = (next(peer.glob(pattern)) for pattern in ("*.tflite", "*labels.txt"))
    folder = tmp_path / "photos"
    for species in ("Blue_Jay", "American_Goldfinch", "American_Redstart"):
        (folder / species).mkdir(parents=True)
        source = data_folder / "birds/cub100/test" / species
        for path in sorted(source.glob("*.jpg"))[:4]:
            (folder / species / path.name).symlink_to(path)
    zoo = Path(__file__).parents[2] / "models" / "zoo" / "birds"
    birds_bench.main([zoo], folder, tmp_path / "out", [model], [labels], rounds=3)
    ours, theirs = json.loads((tmp_path / "out" / "report.json").read_text())["rows"]
    assert (ours["labels"], theirs["labels"]) == (102, 965)
    assert theirs["macs"] is None and theirs["side"] == 224
    for row in (ours, theirs):
        assert row["common_only"][0] >= row["common_all"][0] >= 50


def test_what_cannot_be_compared_is_refused(classifier: Path, photos: Path, tmp_path: Path) -> None:
    def refused(message: str, *arguments: object) -> None:
        with pytest.raises(BadInputError, match=message):
            birds_bench.main(*arguments)  # type: ignore[arg-type]

    out, labels = tmp_path / "out", classifier / bundle.LABELS
    refused("1 --peer need as many --labels", [classifier], photos, out, [labels])
    refused("no such folder of species", [classifier], tmp_path / "nowhere", out)
    refused("one a species", [classifier], classifier, out)
    (tmp_path / "unknown" / "Dodo").mkdir(parents=True)
    (tmp_path / "unknown" / "Dodo" / "a.png").symlink_to(next(photos.rglob("*.png")))
    refused("no species of the photos is known", [classifier], tmp_path / "unknown", out)
    model = classifier / bundle.MODEL
    refused("takes uint8 pixels", [classifier], photos, out, [model], [labels])
    refused("not a readable classifier", [classifier], photos, out, [labels], [labels])
    assert not out.exists()


def test_a_picture_becomes_probabilities(data_folder: Path) -> None:
    """The photo that comes with the model."""
    peer = data_folder / "peers/coral_inat"
    model = Uint8Classifier(next(peer.glob("*.tflite")), next(peer.glob("*labels.txt")))
    photo = cv2.imread(str(peer / "parrot.jpg"))
    assert photo is not None
    sized = cv2.resize(photo, (model.width, model.height), interpolation=cv2.INTER_AREA)
    found = model(np.ascontiguousarray(sized[..., ::-1]).astype(np.uint8))
    assert found.shape == (965,) and abs(float(found.sum()) - 1) < 0.1
    assert re.search("Macaw", model.labels[int(found.argmax())])
