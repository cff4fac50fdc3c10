"""The bird task: what its stages' keys stand for."""

from pathlib import Path

import pytest

from compress import advance, augment, recipe
from compress.tasks import birds
from tests.compress import shapes


def _key(root: Path, area: str | None) -> tuple[str, birds.Birds]:
    """The key before the first stage, of views with that share of a photo's area."""
    path = shapes.write_recipe(root / "recipe.toml")
    if area is not None:
        path.write_text(f"{path.read_text()}[augment]\narea = {area}\n")
    loaded = recipe.load(str(path))
    task = birds.make(loaded.settings, (root,), 0)
    assert isinstance(task, birds.Birds)
    return advance.root(task, loaded.task, loaded.settings, 0), task


def test_stages_are_not_taken_up_where_photos_are_held_in_another_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small crops need larger photos, and how large is no setting."""
    shapes.make_folder(tmp_path / "shapes")
    areas = (None, "[0.4, 1.0]", "[0.3, 1.0]", "[0.2, 1.0]", "[0.08, 1.0]", "[0.01, 1.0]")
    before = {area: _key(tmp_path, area)[0] for area in areas}
    assert before[None] == before["[0.4, 1.0]"] and len(set(before.values())) == len(areas) - 1
    monkeypatch.setattr(augment, "MOST", 3.0)
    changed = {area for area in areas if _key(tmp_path, area)[0] != before[area]}
    assert changed == {"[0.08, 1.0]", "[0.01, 1.0]"}


def test_keys_of_usual_photos_are_those_of_their_content(tmp_path: Path) -> None:
    shapes.make_folder(tmp_path / "shapes")
    _, usual = _key(tmp_path, None)
    _, large = _key(tmp_path, "[0.08, 1.0]")
    assert usual.data().fingerprint == usual.train.fingerprint == large.train.fingerprint
    assert large.data().fingerprint != large.train.fingerprint
