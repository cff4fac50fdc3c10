"""Combinations of a recipe's parts: which there are, what they share, what is not done again."""

import csv
import runpy
import sys
from pathlib import Path

import pytest
from rich.console import Console

from compress import advance, pipeline, recipe, store
from compress.tasks import birds
from device.errors import BadInputError
from scripts import ablation
from tests.compress import shapes

QUIET = Console(quiet=True)
SHORT = """
[[steps]]
kind = "prune"
criterion = "l1"
ratio = 0.5
[[steps]]
kind = "finetune"
epochs = 1
lr = 0.01
"""


def _loaded(tmp_path: Path, steps: str | None = None) -> recipe.Recipe:
    path = shapes.write_recipe(tmp_path / "r.toml")
    text = path.read_text()
    if steps is not None:
        path.write_text(text.replace(text[text.index("[[steps]]") : text.index("[gate]")], steps))
    return recipe.load(str(path))


def test_parts_of_the_shipped_combinations() -> None:
    for name in ("cifar10-vgg16-combined", "cifar10-resnet20-combined"):
        loaded = recipe.load(name)
        assert ablation.parts(loaded) == ("prune", "lowrank", "quantize", "distil")
        cells = [
            ablation.title(ablation.parts(loaded), on)
            for on in ablation.combinations(ablation.parts(loaded))
        ]
        assert len(set(cells)) == 16
        assert cells[0] == "baseline" and cells[-1] == "prune+lowrank+quantize+distil"


def test_every_combination_trains_as_long() -> None:
    loaded = recipe.load("cifar10-vgg16-combined")
    names = ablation.parts(loaded)
    for on in ablation.combinations(names):
        made = ablation.variant(loaded, on)
        tunings = [step for step in made.steps if step.kind == "finetune"]
        assert [step.epochs for step in tunings] == [10, 30]
        assert bool(tunings[-1].distil) == ("distil" in on)
        assert {step.kind for step in made.steps} == {"finetune"} | (on - {"distil"})
    assert ablation.variant(loaded, frozenset(names)) == loaded


def test_without_a_teacher_no_view_comes_again() -> None:
    loaded = recipe.load("birds")
    trainings = [step for step in loaded.steps if step.kind == "finetune"]
    assert {(step.distil, step.views) for step in trainings} == {(True, 24)}
    made = [s for s in ablation.variant(loaded, frozenset()).steps if s.kind == "finetune"]
    assert [(step.distil, step.views) for step in made] == [(False, None)] * len(trainings)


TRAINING = """
[[steps]]
kind = "cicr"
finetune = { epochs = 2, lr = 0.02, distil = true }
[[steps]]
kind = "codebook"
finetune = { epochs = 3, lr = 0.03 }
[[steps]]
kind = "quantize"
scheme = "fp16"
"""


def test_a_part_that_trains_leaves_its_training_behind(tmp_path: Path) -> None:
    loaded = _loaded(tmp_path, TRAINING)
    names = ablation.parts(loaded)
    assert names == ("cicr", "codebook", "quantize", "distil")
    bare = ablation.variant(loaded, frozenset())
    assert [(s.kind, s.epochs, s.lr, s.distil) for s in bare.steps] == [  # type: ignore[union-attr]
        ("finetune", 2, 0.02, False),
        ("finetune", 3, 0.03, False),
    ]
    alone = ablation.variant(loaded, frozenset({"cicr"})).steps[0]
    assert alone.kind == "cicr" and not alone.finetune.distil
    taught = ablation.variant(loaded, frozenset({"distil"})).steps[0]
    assert taught.kind == "finetune" and taught.distil
    assert ablation.variant(loaded, frozenset(names)) == loaded


def test_training_of_unknown_length_is_refused(tmp_path: Path) -> None:
    step = '[[steps]]\nkind = "netadapt"\nmacs = 0.5\nfinetune = { epochs = 1, lr = 0.01 }\n'
    with pytest.raises(BadInputError, match="netadapt fine-tunes until"):
        ablation.parts(_loaded(tmp_path, step))


def test_what_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="two steps are prune"):
        ablation.parts(_loaded(tmp_path, SHORT + SHORT))
    tuning = SHORT[SHORT.index('[[steps]]\nkind = "finetune"') :]
    with pytest.raises(BadInputError, match="no step that could be"):
        ablation.parts(_loaded(tmp_path, tuning))
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(BadInputError, match="move it away"):
        ablation.read(other)


def test_cells_share_stages_and_finished_rows_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes.make_folder(tmp_path / "shapes")
    loaded = _loaded(tmp_path, SHORT)
    task = birds.make(loaded.settings, (tmp_path,), 0)
    out = tmp_path / "out"
    rows = ablation.run(loaded, task, 0, out, (0, 1), QUIET)
    assert [row["cell"] for row in rows] == ["baseline", "prune"]
    whole, pruned = rows
    assert int(pruned["macs"]) < int(whole["macs"])
    assert int(pruned["bytes"]) < int(whole["bytes"])
    assert int(pruned["zipped"]) < int(pruned["bytes"])
    with (out / "seed0.csv").open(newline="") as source:
        assert list(csv.DictReader(source)) == rows
    # the keys are the pipeline's, so the second cell took the first one's baseline
    for cell in ("baseline", "prune"):
        made = ablation.variant(loaded, frozenset({cell} - {"baseline"}))
        for name, key in ablation.keys(made, task, 0):
            assert store.Place(out / "seed0" / cell / "stages" / name, key).finished() is not None
    one, other = (
        (out / "seed0" / cell / "stages/00-baseline/record.json").read_bytes()
        for cell in ("baseline", "prune")
    )
    assert one == other  # its seconds, too

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(pipeline, "train", never)
    monkeypatch.setattr(advance, "advance", never)
    assert ablation.run(loaded, task, 0, out, (0, 1), QUIET) == rows


def test_a_combination_is_scored_again_with_other_test_data(tmp_path: Path) -> None:
    folder = shapes.make_folder(tmp_path / "shapes")
    loaded, out = _loaded(tmp_path, SHORT), tmp_path / "out"

    def made() -> list[dict[str, str]]:
        task = birds.make(loaded.settings, (tmp_path,), 0)
        return ablation.run(loaded, task, 0, out, (0, 2), QUIET)

    first, model = made(), out / "seed0" / "baseline" / "shapes" / "model.tflite"
    deployed = model.stat().st_mtime_ns
    assert len(first) == 1 and made() == first and model.stat().st_mtime_ns == deployed
    (folder / "test" / "red" / "00.png").unlink()
    again = made()
    assert len(again) == 1 and model.stat().st_mtime_ns > deployed
    assert again[0]["data"] != first[0]["data"] and again[0]["key"] == first[0]["key"]
    assert again[0]["train_minutes"] == first[0]["train_minutes"]
    path = out / "seed0-0of2.csv"  # as it was before rows told their data
    path.write_text("".join(f"{line.rpartition(',')[0]}\n" for line in path.open()))
    (folder / "test" / "blue" / "00.png").unlink()
    assert made() == [again[0] | {"data": ""}]


def test_a_table_has_a_line_for_every_combination_that_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _loaded(tmp_path, SHORT)
    with pytest.raises(BadInputError, match="no finished combination"):
        ablation.table(str(tmp_path / "r.toml"), tmp_path)
    row = dict.fromkeys(ablation.COLUMNS, "1") | {"primary": "top1", "data": ""}

    def made(cell: str, seed: int, score: str) -> dict[str, str]:
        better = {"validation": "2" if cell == "prune" else "1"}
        own = {"cell": cell, "seed": str(seed), "score": score, "macs": "2500000"}
        return row | own | better

    ablation.write(tmp_path / "seed0.csv", [made("gone", 0, "1")])
    with pytest.raises(BadInputError, match="no finished combination"):
        ablation.table(str(tmp_path / "r.toml"), tmp_path)
    ablation.write(tmp_path / "seed0.csv", [made("prune", 0, "80.0"), made("baseline", 0, "90.0")])
    ablation.write(tmp_path / "seed1-0of2.csv", [made("prune", 1, "84.0"), made("gone", 1, "1")])
    ablation.table(str(tmp_path / "r.toml"), tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "score: top1 on the final split"
    assert lines[2].startswith("| combination | score | validation | M MACs | parameters, k |")
    assert lines[4].startswith("| baseline | 90 | 1 | 2.5 | 0.001 |") and lines[4].endswith("| 1 |")
    assert lines[5].startswith("| **prune** | 82 ± 2.8 | 2 ± 0 | 2.5 ± 0 |")
    assert "prune *" in (tmp_path / "pareto.svg").read_text()
    assert lines[5].endswith("| 2 |") and len(lines) == 6
    ablation.write(tmp_path / "seed2.csv", [made("prune", 2, "1") | {"data": "a"}])
    ablation.table(str(tmp_path / "r.toml"), tmp_path)
    ablation.write(tmp_path / "seed2-1of2.csv", [made("baseline", 2, "1") | {"data": "b"}])
    with pytest.raises(BadInputError, match="its rows are of different data"):
        ablation.table(str(tmp_path / "r.toml"), tmp_path)


@pytest.mark.parametrize("arguments", [[], ["run"], ["table"]])
def test_a_recipe_alone_is_run(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [ablation.__file__, *arguments, "nothing"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(ablation.__file__, run_name="__main__")
    assert left.value.code == 2 and "nothing: no such recipe" in capsys.readouterr().err
