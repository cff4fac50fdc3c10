"""[model] of image classifiers: what a recipe is told about an architecture it cannot have."""

import json
from pathlib import Path

import pytest

from compress.recipe import load
from device.errors import BadInputError
from tests.compress.enas import children


def _refused(path: Path) -> str:
    recipe = children.write_recipe(
        path.with_name("tiny.toml"), model=f"architecture = {json.dumps(str(path))}"
    )
    with pytest.raises(BadInputError) as raised:
        load(str(recipe))
    where = f"{recipe}: model.enas.architecture: "
    assert str(raised.value).startswith(where)
    return str(raised.value).removeprefix(where)


def test_a_broken_architecture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "half.json"
    text = children.drawn(0, 2, (0.0,)).model_dump_json(indent=1)
    path.write_text(text[: len(text) // 2])
    assert _refused(path).startswith(f"{path}: top level: Invalid JSON: EOF while parsing")


def test_what_is_wrong_in_an_architecture_is_said(tmp_path: Path) -> None:
    path = tmp_path / "later.json"
    table = children.drawn(0, 2, (0.0,)).model_dump(mode="json")
    table["normal"]["nodes"][0]["right"]["input"] = 3
    path.write_text(json.dumps(table))
    assert _refused(path) == f"{path}: normal: node 0 reads a state that comes after it"
