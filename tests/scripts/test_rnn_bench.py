"""The bench of recurrent compression: shipped studies, cells that start from one baseline, rows."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from compress import count, recipe
from compress.steps import Step
from device.errors import BadInputError
from scripts import rnn_bench, studies
from tests.compress.rnn import texts

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies"
RECIPE = """
name = "toy"
task = "language"
[data]
folder = "text"
tokens = "whitespace"
vocabulary = 20
description = "made up"
licence = "none"
[model]
size = 12
units = [16]
[batches]
streams = 4
stretch = 10
[baseline]
epochs = 1
lr = 0.02
optimizer = "adamw"
precision = "32-true"
channels_last = false
[[steps]]
kind = "rnn-svd"
energy = 0.9
[gate]
max_drop = 3
"""
STUDY = """
recipe = "recipe.toml"
seeds = [0]
budgets = [0.6]
[[method]]
name = "SVD"
steps = [{ kind = "rnn-svd", parameters = "budget" }, { kind = "rnn-svd", energy = 1.0 }]
[[method]]
name = "smaller"
scratch = true
steps = [{ kind = "rnn-svd", energy = 1.0 }]
"""


@pytest.mark.parametrize("name", ["language", "language-short", "dtln"])
def test_shipped_studies_and_their_recipes_are_valid(name: str) -> None:
    study = studies.read(STUDIES / f"{name}.toml", rnn_bench.Study)
    assert recipe.load(str(STUDIES / study.recipe)).task == name.removesuffix("-short")
    for method in study.method:
        assert method.steps
        for table in method.steps:
            values = {k: 0.5 if v == rnn_bench.BUDGET else v for k, v in table.items()}
            TypeAdapter(Step).validate_python(values)


def test_cells_start_from_one_baseline_and_meet_their_size(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "study.toml").write_text(STUDY)
    study = studies.read(tmp_path / "study.toml", rnn_bench.Study)
    runner = rnn_bench.Runner(study, tmp_path, texts.write(tmp_path / "text"), tmp_path / "out", 0)
    whole = count.parameters(runner.baseline)
    for method in study.method:
        net, before = runner.walk(method, 0.6)
        assert 0.45 * whole < count.parameters(net) <= 0.6 * whole
        assert bool(before) == (len(method.steps) > 1)
    assert count.parameters(runner.baseline) == whole
    runner.walk(study.method[0], 0.6666666)
    runner.walk(study.method[0], 0.6666667)
    folders = {path.name for path in (tmp_path / "out" / "cells").iterdir()}
    assert folders >= {f"svd-{budget}-seed0" for budget in (0.6, 0.6666666, 0.6666667)}


def test_files_in_both_numbers_are_scored_alike(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "study.toml").write_text(STUDY.replace("seeds = [0]", "seeds = [0]\nint8 = true"))
    study = studies.read(tmp_path / "study.toml", rnn_bench.Study)
    runner = rnn_bench.Runner(study, tmp_path, texts.write(tmp_path / "text"), tmp_path / "out", 0)
    row = runner.cell(study.method[0], 0.6)
    assert row["dynamic-int8_bytes"] < row["fp32_bytes"]
    assert row["dynamic-int8_test_ppl"] == pytest.approx(row["fp32_test_ppl"], rel=0.02)
    assert row["dynamic-int8_test_ppl"] != row["fp32_test_ppl"]


def test_a_finished_row_is_known_and_tabled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "study.toml").write_text(STUDY)
    with pytest.raises(BadInputError, match="no finished cell"):
        rnn_bench.table(tmp_path / "study.toml", tmp_path)
    for seed, ppl in ((0, 10.0), (1, 12.0)):
        row = {"method": "SVD", "budget": "0.6", "seed": seed, "test_ppl": ppl, "key": ""}
        rnn_bench.append(tmp_path / "out", row)
    for method in ("baseline", "of an older study"):
        row = {"method": method, "budget": "1", "seed": 0, "test_ppl": 9.0, "key": ""}
        rnn_bench.append(tmp_path / "out", row)
    rnn_bench.append(tmp_path / "out", row | {"method": "baseline", "test_ppl": 8.0})  # again
    assert ("SVD", "0.6", "1") in rnn_bench.rows(tmp_path / "out")
    capsys.readouterr()
    rnn_bench.table(tmp_path / "study.toml", tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| method | budget | seeds | test_ppl |"
    assert lines[2] == "| baseline | 100% | 1 | 8 |"
    assert lines[3:] == ["| SVD | 60% | 2 | 11 ± 1.4 |"]


class _Runner(rnn_bench.Runner):
    """Does a cell at once; with int8, it has a score more."""

    def cell(self, method: rnn_bench.Method, budget: float) -> dict[str, object]:
        MADE.append(method.name)
        cell = {"method": method.name, "budget": studies.exact(budget), "seed": self.seed}
        return cell | {"test_ppl": 1.0} | ({"int8_test_ppl": 2.0} if self.study.int8 else {})


MADE: list[str] = []


def test_a_study_that_was_changed_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rnn_bench, "Runner", _Runner)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    texts.write(tmp_path / "text")
    study, out = tmp_path / "study.toml", tmp_path / "out"
    smaller = 'name = "smaller"\nscratch = true\nsteps = [{ kind = "rnn-svd", energy = '

    def made(text: str) -> list[str]:
        study.write_text(text)
        MADE.clear()
        rnn_bench.run(study, tmp_path, out)
        return [*MADE]

    assert made(STUDY) == ["baseline", "SVD", "smaller"]
    assert made(STUDY) == []
    assert made(STUDY.replace("budgets = [0.6]", "budgets = [0.6, 0.5]")) == ["SVD", "smaller"]
    changed = STUDY.replace(f"{smaller}1.0", f"{smaller}0.9")
    assert changed != STUDY and made(changed) == ["smaller"]
    assert made(changed) == []
    scored = changed.replace("seeds = [0]", "seeds = [0]\nint8 = true")
    study.write_text(scored.replace("[0.6]", "[0.6, 0.5]"))
    with pytest.raises(BadInputError, match="no finished cell of this study"):
        rnn_bench.table(study, out)
    assert made(scored) == ["baseline", "SVD", "smaller"]
    found = rnn_bench.rows(out)
    assert {cell: row["int8_test_ppl"] for cell, row in found.items()} == {
        ("baseline", "1", "0"): "2.0",
        ("SVD", "0.6", "0"): "2.0",
        ("smaller", "0.6", "0"): "2.0",
        ("SVD", "0.5", "0"): None,
        ("smaller", "0.5", "0"): None,
    }
    assert list(next(iter(found.values())))[-1] == "key" and made(scored) == []
    capsys.readouterr()
    rnn_bench.table(study, out)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| method | budget | seeds | test_ppl | int8_test_ppl |"
    assert lines[2:5] == [
        "| baseline | 100% | 1 | 1 | 2 |",
        "| SVD | 60% | 1 | 1 | 2 |",
        "| smaller | 60% | 1 | 1 | 2 |",
    ]
    assert lines[5:] == ["", "2 cells left out: the study has changed since: run it again"]
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("lr = 0.02", "lr = 0.03"))
    assert len(made(changed)) == 3


def test_rows_of_before_there_were_keys_are_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rnn_bench, "Runner", _Runner)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    texts.write(tmp_path / "text")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows.csv").write_text(
        "method,budget,seed,test_ppl\r\nbaseline,1,0,8.0\r\nSVD,0.6,0,9.0\r\n"
    )
    before = rnn_bench.rows(tmp_path / "out")
    study = tmp_path / "study.toml"

    def made(more: str) -> set[str]:
        study.write_text(f"{STUDY}\n{more}")
        MADE.clear()
        rnn_bench.run(study, tmp_path, tmp_path / "out")
        return {*MADE}

    assert made("") == {"smaller"}  # was not done
    assert made("") == set()
    for energy in (0.5, 0.6):  # a method that is new has a key all the same
        step = f'steps = [{{ kind = "rnn-svd", energy = {energy} }}]'
        assert made(f'[[method]]\nname = "new"\n{step}\n') == {"new"}
    found = rnn_bench.rows(tmp_path / "out")
    new = {"data": None, "key": None}
    assert {cell: found[cell] for cell in before} == {c: row | new for c, row in before.items()}
    assert all(row["data"] and row["key"] for cell, row in found.items() if cell not in before)


def test_rows_of_before_they_told_their_data_are_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rnn_bench, "Runner", _Runner)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "study.toml").write_text(STUDY)
    texts.write(tmp_path / "text")
    arguments = (tmp_path / "study.toml", tmp_path, tmp_path / "out")
    rnn_bench.run(*arguments)
    path = tmp_path / "out" / "rows.csv"
    told = path.read_text().splitlines()
    assert told[0].endswith(",data,key")
    old = [",".join(n for i, n in enumerate(line.split(",")) if i != 4) for line in told]
    assert old[0] == "method,budget,seed,test_ppl,key"
    path.write_text("\n".join(old[:-1]) + "\n")
    MADE.clear()
    rnn_bench.run(*arguments)
    assert MADE == ["smaller"], "the one whose row was taken away"
    found = rnn_bench.rows(tmp_path / "out")
    assert [bool(row["data"]) for row in found.values()] == [False, False, True]
    assert [row["key"] for row in found.values()] == [line.split(",")[-1] for line in told[1:]]
    capsys.readouterr()
    rnn_bench.table(arguments[0], arguments[2])
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_a_cell_is_done_again_with_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rnn_bench, "Runner", _Runner)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "study.toml").write_text(STUDY)
    text = texts.write(tmp_path / "text")

    def made(part: str = "0/1") -> list[str]:
        MADE.clear()
        rnn_bench.run(tmp_path / "study.toml", tmp_path, tmp_path / "out", part)
        return [*MADE]

    assert len(made()) == 3 and made() == []
    for name in ("test", "train"):
        path = text / f"toy.{name}.txt"
        path.write_text(path.read_text() + "the bird sings\n")
        assert made("0/3") == ["baseline"]
        with pytest.raises(BadInputError, match="its rows are of different data: do all again"):
            rnn_bench.table(tmp_path / "study.toml", tmp_path / "out")
        assert made() == ["SVD", "smaller"] and made() == []
    rnn_bench.table(tmp_path / "study.toml", tmp_path / "out")


def test_budgets_of_many_digits_are_cells_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rnn_bench, "Runner", _Runner)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    study, out = tmp_path / "study.toml", tmp_path / "out"
    study.write_text(STUDY.replace("[0.6]", "[0.3333333, 0.3333334]"))
    texts.write(tmp_path / "text")
    rnn_bench.run(study, tmp_path, out)
    assert {budget for _, budget, _ in rnn_bench.rows(out)} == {"1", "0.3333333", "0.3333334"}
    MADE.clear()
    rnn_bench.run(study, tmp_path, out)
    assert MADE == []
    capsys.readouterr()
    rnn_bench.table(study, out)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[1] for line in lines[3:]] == ["33.33334%"] * 2 + ["33.33333%"] * 2


def test_what_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("seeds = 3")
    with pytest.raises(BadInputError, match=r"x\.toml: not a study: recipe: "):
        studies.read(tmp_path / "x.toml", rnn_bench.Study)
