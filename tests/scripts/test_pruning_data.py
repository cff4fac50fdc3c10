"""A study of pruning methods with other data, and with budgets that are all but the same."""

import json
from pathlib import Path

import pytest

from device.errors import BadInputError
from scripts import compare_pruning as compare
from scripts import compare_speed, pruning_cells, studies
from tests.compress import shapes

STUDY = """
recipe = "{recipe}"
seeds = [0]
budgets = [0.5]
finetune = {{ epochs = 1, lr = 0.01 }}
[[method]]
name = "uniform L1"
by = "control"
steps = [{{ kind = "prune", criterion = "l1", round_to = 1 }}]
[[method]]
name = "random"
by = "control"
steps = [{{ kind = "prune", criterion = "random", round_to = 1 }}]
"""


def _study(root: Path) -> Path:
    shapes.make_folder(root / "shapes")
    recipe = shapes.write_recipe(root / "shapes.toml")
    (root / "study.toml").write_text(STUDY.format(recipe=recipe))
    return root / "study.toml"


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("split", ["test", "train"])
def test_rows_of_other_data_are_neither_reused_nor_lost(split: str, tmp_path: Path) -> None:
    study, out = _study(tmp_path), tmp_path / "out"
    compare.run(study, tmp_path, out, "0/2")  # half of it
    before = _contents(out)
    (tmp_path / "shapes" / split / "red" / "00.png").unlink()
    for part in ("0/0", "0/2", "1/2"):  # the baseline, too, would be made anew
        with pytest.raises(BadInputError, match="out: its rows are of other data than --data"):
            compare.run(study, tmp_path, out, part)
    with pytest.raises(BadInputError, match="out: its rows are of other data than --data"):
        compare_speed.main(study, tmp_path, out)
    assert _contents(out) == before
    compare.run(study, tmp_path, tmp_path / "other", "1/2")
    row = next((tmp_path / "other" / "rows").iterdir())
    (out / "rows" / row.name).write_bytes(row.read_bytes())
    with pytest.raises(BadInputError, match="its rows are of different data"):
        compare.table(study, out)


def test_rows_of_before_they_told_their_data_are_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = _study(tmp_path), tmp_path / "out"
    compare.run(study, tmp_path, out, "0/2")
    (old,) = (out / "rows").iterdir()
    row = json.loads(old.read_bytes())
    assert row.pop("data") is not None
    old.write_text(json.dumps(row))
    before = old.read_bytes()
    compare.run(study, out, out, "0/2")  # nothing is left to do, so the data is not needed
    compare.run(study, tmp_path, out, "0/1")
    assert old.read_bytes() == before and len(list((out / "rows").iterdir())) == 2
    capsys.readouterr()
    compare.table(study, out)
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(" | ")[0] for line in lines} >= {"| uniform L1", "| random"}


def test_budgets_of_many_digits_are_cells_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = _study(tmp_path), tmp_path / "out"
    text = study.read_text().replace("[0.5]", "[0.6666666, 0.6666667]")
    study.write_text(text[: text.rindex("[[method]]")])
    compare.run(study, tmp_path, out, "0/1")
    names = {f"uniform-l1-{budget}-seed0" for budget in (0.6666666, 0.6666667)}
    assert {path.stem for path in (out / "rows").iterdir()} == names
    assert {path.name for path in (out / "cells").iterdir()} == names
    chosen = studies.read(study, pruning_cells.Study)
    assert all(pruning_cells.done(chosen, out, *cell) for cell in chosen.cells())
    capsys.readouterr()
    compare.table(study, out)
    printed = capsys.readouterr().out
    assert "66.66666% of the multiply-accumulates" in printed
    assert "66.66667% of the multiply-accumulates" in printed
