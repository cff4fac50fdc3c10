"""Pictures on the command line: one answer each, or one clear line."""

import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from device import images
from tests.apps.test_birds import birds, refused
from tests.scenes import BLUE, GREEN, RED


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    made = {}
    for name, colour in (("red", RED), ("green", GREEN), ("blue", BLUE)):
        made[name] = tmp_path / f"a {name} one.png"
        made[name].write_bytes(images.jpeg(np.full((60, 80, 3), colour, np.uint8)))
    return made


def test_classify_gives_one_json_line_per_picture(
    pictures: dict[str, Path], classifier: Path
) -> None:
    done = birds("classify", *pictures.values(), "--bundle", classifier, "--json")

    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line, (name, path) in zip(lines, pictures.items(), strict=True):
        assert list(line) == ["file", "label", "confidence", "top5", "ms"]
        assert (line["file"], line["label"]) == (str(path), name)
        assert line["confidence"] > 0.99 and line["ms"] > 0
        assert line["top5"][0] == {"label": name, "confidence": line["confidence"]}
        assert len(line["top5"]) == 4  # all that this model knows
        assert sum(guess["confidence"] for guess in line["top5"]) == pytest.approx(1)


def test_classify_prints_an_aligned_table(pictures: dict[str, Path], classifier: Path) -> None:
    done = birds("classify", *pictures.values(), "--bundle", classifier)

    lines = done.stdout.splitlines()
    assert [line.split("  ")[2].strip() for line in map(_squeezed, lines)] == list(pictures)
    assert len({line.index("%") for line in lines}) == 1


def _squeezed(line: str) -> str:
    return re.sub(r" {2,}", "  ", line)


def test_classify_refuses_before_it_prints(pictures: dict[str, Path], classifier: Path) -> None:
    pictures["red"].with_name("broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    broken, missing = (pictures["red"].with_name(name) for name in ("broken.jpg", "gone.jpg"))
    good = pictures["green"]

    refused(birds("classify", good, broken, "--bundle", classifier, "--json"), "broken.jpg")
    refused(birds("classify", good, missing, "--bundle", classifier), "gone.jpg")
    refused(birds("classify", good, "--bundle", classifier / "no"), "no such bundle")


def test_classify_refuses_another_tasks_bundle(pictures: dict[str, Path], enhancer: Path) -> None:
    refused(birds("classify", pictures["red"], "--bundle", enhancer), "to enhance")


def test_a_name_that_is_not_utf_8_is_shown_and_can_be_used_again(
    tmp_path: Path, classifier: Path
) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(images.jpeg(np.full((60, 80, 3), RED, np.uint8)))
    strict = {"PYTHONIOENCODING": "utf-8:strict"}

    table = birds("classify", path, "--bundle", classifier, **strict)
    assert (table.returncode, table.stderr) == (0, "")
    assert r"caf\udce9.png " in table.stdout

    lines = birds("classify", path, "--bundle", classifier, "--json", **strict)
    assert (lines.returncode, lines.stderr) == (0, "")
    assert json.loads(lines.stdout)["file"] == str(path)


def test_pixels_without_a_known_white_are_one_line(tmp_path: Path, classifier: Path) -> None:
    path = tmp_path / "x.tif"
    assert cv2.imwrite(str(path), np.full((4, 5, 3), 0.5, np.float32))
    done = birds("classify", path, "--bundle", classifier)
    refused(done, "x.tif: pixels are float32")
    assert done.stderr.count("\n") == 1
