"""A study of pruning methods, whole, on coloured shapes."""

import shutil
from pathlib import Path

import pytest

from device.errors import BadInputError
from scripts import compare_pruning as compare
from scripts import studies
from tests.compress import shapes

STUDY = """
recipe = "{recipe}"
seeds = [0, 1]
budgets = [0.5]
finetune = {{ epochs = 1, lr = 0.01 }}
[[method]]
name = "uniform L1"
by = "control"
steps = [{{ kind = "prune", criterion = "l1", round_to = 1 }}]
[[method]]
name = "tp Taylor"
by = "torch-pruning"
steps = [{{ kind = "prune", criterion = "tp-taylor", round_to = 1 }}]
[[method]]
name = "tp Hessian, global"
by = "torch-pruning"
steps = [{{ kind = "prune", criterion = "tp-hessian", scope = "global", round_to = 1 }}]
[[method]]
name = "from scratch"
by = "control"
scratch = true
seeds = [0]
steps = [{{ kind = "prune", criterion = "l1", round_to = 1 }}]
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A study and the results of its two parts."""
    root = tmp_path_factory.mktemp("study")
    shapes.make_folder(root / "shapes")
    recipe = shapes.write_recipe(root / "shapes.toml")
    study = root / "study.toml"
    study.write_text(STUDY.format(recipe=recipe))
    out = root / "out"
    for part in ("0/0", "0/2", "1/2"):
        compare.run(study, root, out, part)
    return study, out


def test_parts_do_every_cell_once_from_one_baseline_a_seed(done: tuple[Path, Path]) -> None:
    study, out = done
    rows = [compare.Row.model_validate_json(p.read_bytes()) for p in (out / "rows").iterdir()]
    assert len(rows) == 7
    assert {row.seed for row in rows if row.method == "from scratch"} == {0}
    for seed in (0, 1):
        assert len({row.baseline_test for row in rows if row.seed == seed}) == 1
    assert all(0.3 * row.baseline_macs < row.macs <= 0.5 * row.baseline_macs for row in rows)
    like_l1 = {row.macs for row in rows if row.method in ("uniform L1", "from scratch")}
    assert len(like_l1) == 1, "the control trained anew has the pruned network's shape"
    before = {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()}
    compare.run(study, out, out, "0/1")  # the data is not needed: nothing is left to do
    assert before == {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()}


def test_a_method_that_was_changed_is_done_again(done: tuple[Path, Path], tmp_path: Path) -> None:
    study, out = done
    changed = tmp_path / "changed.toml"
    changed.write_text(study.read_text().replace("tp-taylor", "tp-magnitude"))
    shutil.copytree(out, tmp_path / "out")
    rows = tmp_path / "out" / "rows"
    before = {path.name: path.read_text() for path in rows.iterdir()}
    compare.run(changed, study.parent, tmp_path / "out", "0/1")
    again = {path.name for path in rows.iterdir() if path.read_text() != before[path.name]}
    assert again == {"tp-taylor-0.5-seed0.json", "tp-taylor-0.5-seed1.json"}


def test_the_table_has_a_line_for_every_method(
    done: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    compare.table(*done)
    lines = capsys.readouterr().out.splitlines()
    assert "50% of the multiply-accumulates" in lines
    line = next(line for line in lines if line.startswith("| uniform L1 "))
    assert line.count("±") >= 3 and line.rstrip("| ").endswith("2")
    assert next(line for line in lines if line.startswith("| from scratch ")).count("±") == 0


def test_says_what_is_wrong_with_a_study(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text('recipe = "shapes"\n')
    with pytest.raises(BadInputError, match="seeds"):
        studies.read(broken, compare.Study)


FOUND = """
recipe = "{recipe}"
seeds = [0]
finetune = {{ epochs = 1, lr = 0.01 }}
[[method]]
name = "searched"
by = "fieldwren"
[[method.steps]]
kind = "fake-prune"
epochs = 2
controller_steps = 2
samples = 4
batch = 16
round_to = 1
[[method]]
name = "as much"
by = "control"
match = "searched"
steps = [{{ kind = "prune", criterion = "l1", round_to = 1 }}]
"""


def test_a_control_removes_as_much_as_the_method_that_it_matches(
    done: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = done[0].parent
    study = tmp_path / "study.toml"
    study.write_text(FOUND.format(recipe=root / "shapes.toml"))
    with pytest.raises(BadInputError, match='run the method "searched" first'):
        compare.run(study, root, tmp_path / "out", "1/2")
    compare.run(study, root, tmp_path / "out", "0/1")
    rows = {
        row.method: row
        for path in (tmp_path / "out" / "rows").glob("*.json")
        for row in [compare.Row.model_validate_json(path.read_bytes())]
    }
    searched, matched = rows["searched"], rows["as much"]
    assert searched.budget is matched.budget is None
    assert 0.8 * searched.macs < matched.macs <= searched.macs < searched.baseline_macs
    capsys.readouterr()
    compare.table(study, tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(" | ")[0] for line in lines} >= {"| searched", "| as much"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"l1"', '"l7"', "uniform L1: steps: .*criterion"),
        ("[0.5]", "[1.5]", r"not a study: budgets\.0: "),
        (
            '"prune", criterion = "l1", round_to = 1',
            '"finetune", lr = 0.1, epochs = 1',
            "leave no epoch",
        ),
    ],
)
def test_every_step_is_checked_before_anything_is_trained(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    study = tmp_path / "study.toml"
    study.write_text(STUDY.format(recipe="nowhere").replace(old, new, 1))
    with pytest.raises(BadInputError, match=message):
        compare.run(study, tmp_path, tmp_path / "out", "0/1")
