"""A study of pruning methods, whole, on coloured shapes."""

import copy
import shutil
import tomllib
from pathlib import Path

import pytest
import torch

from compress import prune, store
from device import files
from device.errors import BadInputError
from scripts import compare_pruning as compare
from scripts import pruning_cells, rivals, studies
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
[[method]]
name = "tp Taylor's shape"
by = "control"
shape_of = "tp Taylor"
seeds = [0]
steps = []
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
    for part in ("0/0", "1/2", "0/2"):  # the shape's method is in 1/2
        compare.run(study, root, out, part)
    return study, out


def test_parts_do_every_cell_once_from_one_baseline_a_seed(done: tuple[Path, Path]) -> None:
    study, out = done
    rows = [pruning_cells.Row.model_validate_json(p.read_bytes()) for p in (out / "rows").iterdir()]
    assert len(rows) == 8
    assert {row.seed for row in rows if row.method == "from scratch"} == {0}
    for seed in (0, 1):
        assert len({row.baseline_test for row in rows if row.seed == seed}) == 1
    assert all(0.3 * row.baseline_macs < row.macs <= 0.5 * row.baseline_macs for row in rows)
    like_l1 = {row.macs for row in rows if row.method in ("uniform L1", "from scratch")}
    assert len(like_l1) == 1, "the control trained anew has the pruned network's shape"
    before = {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()}
    compare.run(study, study.parent, out, "0/1")
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
    taylor = {"tp-taylor-0.5-seed0.json", "tp-taylor-0.5-seed1.json"}
    assert again == taylor | {"tp-taylor-s-shape-0.5-seed0.json"}


def test_a_shape_loses_the_same_channels_before_all_training(
    done: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = done
    pruned, shape = (
        pruning_cells.Row.model_validate_json(
            (out / "rows" / f"{name}-0.5-seed0.json").read_bytes()
        )
        for name in ("tp-taylor", "tp-taylor-s-shape")
    )
    assert (shape.macs, shape.parameters, shape.cut) == (pruned.macs, pruned.parameters, None)
    folder = out / "cells" / "tp-taylor-s-shape-0.5-seed0"
    (trained,) = (store.Record.model_validate_json(p.read_bytes()) for p in folder.rglob("*.json"))
    assert len(trained.log) == 2  # one of the baseline, one of the further training
    monkeypatch.setattr("compress.advance.advance", lambda *_, **__: None)
    chosen = studies.read(study, pruning_cells.Study)
    runner = compare.Runner(chosen, study.parent, out, 0)
    untrained, _ = runner.walk(chosen.method[-1], 0.5)
    record = store.Record.model_validate_json(
        (out / "cells" / "tp-taylor-0.5-seed0" / "0-prune" / "record.json").read_bytes()
    )
    assert record.plan is not None
    expected = prune.remove(copy.deepcopy(runner.start.fresh), runner.start.example, record.plan)
    for name, value in expected.state_dict().items():
        assert torch.equal(untrained.state_dict()[name], value), name


def test_a_shape_waits_for_the_method_that_it_is_of(
    done: tuple[Path, Path], tmp_path: Path
) -> None:
    study, out = done
    shutil.copytree(out, tmp_path / "out")
    rows = tmp_path / "out" / "rows"
    (rows / "tp-taylor-s-shape-0.5-seed0.json").unlink()
    kept = (rows / "tp-taylor-0.5-seed0.json").read_bytes()
    (rows / "tp-taylor-0.5-seed0.json").unlink()
    with pytest.raises(BadInputError, match='run the method "tp Taylor" first'):
        compare.run(study, study.parent, tmp_path / "out", "4/8")
    (rows / "tp-taylor-0.5-seed1.json").unlink()  # behind the cell that waits
    with pytest.raises(BadInputError, match=r"not done: tp-taylor-s-shape-0\.5-seed0: run the"):
        compare.run(study, study.parent, tmp_path / "out", "0/2")
    assert (rows / "tp-taylor-0.5-seed1.json").exists()
    (rows / "tp-taylor-0.5-seed0.json").write_bytes(kept)
    shutil.rmtree(tmp_path / "out" / "cells" / "tp-taylor-0.5-seed0")
    with pytest.raises(BadInputError, match=r'0-prune is not there.*"tp Taylor" again'):
        compare.run(study, study.parent, tmp_path / "out", "4/8")


def test_the_keys_of_rows_stay_what_they_were(done: tuple[Path, Path]) -> None:
    study, _ = done
    chosen = studies.read(study, pruning_cells.Study)
    asked = {
        "name": "uniform L1",
        "steps": ({"kind": "prune", "criterion": "l1", "round_to": 1},),
    }
    schedule = {"epochs": 1, "lr": 0.01}
    recipe = files.sha256(Path(chosen.recipe))
    expected = store.key(recipe, schedule, asked, 0.5, 1)
    assert pruning_cells.key(chosen, 1, chosen.method[0], 0.5) == expected


def test_the_table_has_a_line_for_every_method(
    done: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    compare.table(*done)
    lines = capsys.readouterr().out.splitlines()
    assert "50% of the multiply-accumulates" in lines
    line = next(line for line in lines if line.startswith("| uniform L1 "))
    assert line.count("±") >= 3 and line.rstrip("| ").endswith("2")
    assert next(line for line in lines if line.startswith("| from scratch ")).count("±") == 0
    image = (done[1] / "pareto.svg").read_text()
    assert all(f">{method}<" in image for method in ("uniform L1", "from scratch"))


def test_the_table_is_of_the_study_as_it_is_now(
    done: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = done
    changed = tmp_path / "changed.toml"
    text = study.read_text().replace('name = "uniform L1"', 'name = "plain L1"')
    text = text.replace("tp-taylor", "tp-magnitude")
    changed.write_text(text)
    compare.table(changed, out)
    lines = [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines()]
    assert "| from scratch" in lines
    assert not {"| uniform L1", "| plain L1", "| tp Taylor"} & set(lines)


STUDIES = [
    path
    for path in sorted((Path(__file__).parents[2] / "benchmarks" / "studies").glob("*.toml"))
    if {"finetune", "method"} <= tomllib.loads(path.read_text()).keys()
]


def test_there_are_studies_here() -> None:
    assert STUDIES


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_steps_of_every_study_here_are_valid(path: Path) -> None:
    rivals.register()
    pruning_cells.check(studies.read(path, pruning_cells.Study))


def test_says_what_is_wrong_with_a_study(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text('recipe = "shapes"\n')
    with pytest.raises(BadInputError, match="seeds"):
        studies.read(broken, pruning_cells.Study)


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
        for row in [pruning_cells.Row.model_validate_json(path.read_bytes())]
    }
    searched, matched = rows["searched"], rows["as much"]
    assert searched.budget is matched.budget is None
    assert 0.8 * searched.macs < matched.macs <= searched.macs < searched.baseline_macs
    capsys.readouterr()
    compare.table(study, tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(" | ")[0] for line in lines} >= {"| searched", "| as much"}
    text = study.read_text()
    keys = set()
    for samples in ("samples = 4", "samples = 5"):  # a changed search asks for another control
        study.write_text(text.replace("samples = 4", samples))
        chosen = studies.read(study, pruning_cells.Study)
        keys.add(pruning_cells.key(chosen, 0, chosen.method[1], None))
    assert len(keys) == 2
    chosen = studies.read(study, pruning_cells.Study).model_copy(update={"budgets": (0.5,)})
    with pytest.raises(BadInputError, match="match: the study has no cell searched-found-seed0"):
        pruning_cells.check(chosen)
    for other in ("as much", "nobody"):
        study.write_text(text.replace('match = "searched"', f'match = "{other}"'))
        with pytest.raises(BadInputError, match=f'"{other}" is no method that finds a share'):
            studies.read(study, pruning_cells.Study)


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
        ('"tp Taylor"\nseeds', '"tp Tailor"\nseeds', '"tp Tailor" is no method that prunes'),
        ('"tp Taylor"\nseeds', '"from scratch"\nseeds', '"from scratch" is no method that prunes'),
        ("steps = []", 'steps = [{ kind = "slim" }]', "no steps, scratch or match beside it"),
        (
            'by = "torch-pruning"',
            'by = "torch-pruning"\nbudgets = [0.25]',
            "the study has no cell tp-taylor-0.5-seed0",
        ),
        (
            '[{ kind = "prune", criterion = "tp-taylor", round_to = 1 }]',
            '[{ kind = "lowrank", form = "channel", energy = 0.9 }]',
            "lowrank changes more than channels",
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
