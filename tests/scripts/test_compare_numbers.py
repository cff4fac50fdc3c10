"""Number formats side by side, at the scale of coloured shapes."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from compress import store
from device.errors import BadInputError
from scripts import compare_numbers, studies
from scripts.number_rows import ROWS, Row, keep
from tests.compress import shapes

STUDY = """
recipe = "{recipe}"
[[cell]]
name = "codes"
steps = [{{kind = "codebook", entries = 8}}, {{kind = "quantize", scheme = "fp32"}}]
[[cell]]
name = "qat"
steps = [
    {{kind = "qat", epochs = 1, lr = 0.01, samples = 4}},
    {{kind = "quantize", scheme = "static-int8", samples = 4}},
]
"""


def test_a_study_is_run_once_timed_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes.make_folder(tmp_path / "shapes")
    task = shapes.make_task(tmp_path, shapes.write_recipe(tmp_path / "shapes.toml"))
    torch.manual_seed(0)
    net = task.build()
    net(task.example().repeat(2, 1, 1, 1))  # norms that have seen something
    stage, out = tmp_path / "stage", tmp_path / "out"
    stage.mkdir()
    torch.save(net.state_dict(), stage / store.STATE)
    study = tmp_path / "study.toml"
    study.write_text(STUDY.format(recipe=tmp_path / "shapes.toml"))
    compare_numbers.run(study, stage, tmp_path, out, seed=0, split="validation", only=None)
    found = {row.cell: row for row in compare_numbers.rows(out)}
    assert list(found) == ["codes", "qat"]
    assert {row.split for row in found.values()} == {"validation"}
    assert found["qat"].bytes < 0.6 * found["codes"].bytes
    assert found["qat"].weights.endswith("×INT8") and found["qat"].worst_db is not None
    coded = found["codes"].coded
    assert coded is not None and coded < 0.4 * found["codes"].bytes
    assert found["qat"].coded is None

    made = (out / "bundles" / "codes" / "model.tflite").stat().st_mtime_ns
    compare_numbers.run(study, stage, tmp_path, out, seed=0, split="validation", only=None)
    assert len(compare_numbers.rows(out)) == 2
    assert (out / "bundles" / "codes" / "model.tflite").stat().st_mtime_ns == made

    study.write_text(
        STUDY.format(recipe=tmp_path / "shapes.toml").replace("entries = 8", "entries = 4")
    )
    compare_numbers.run(study, stage, tmp_path, out, seed=0, split="validation", only=None)
    again = {row.cell: row for row in compare_numbers.rows(out)}
    assert again["qat"] == found["qat"] and again["codes"].key != found["codes"].key
    assert (again["codes"].coded or 0) < coded and len(again) == 2

    compare_numbers.time(study, out, runtime=None, rounds=2, threads=1)
    with (out / compare_numbers.TIMES).open() as lines:
        times = list(csv.DictReader(lines))
    assert [line["cell"] for line in times] == ["codes", "qat"]
    assert all(0 < float(line["p10_ms"]) <= float(line["p90_ms"]) for line in times)
    assert all(float(line["difference"]) <= float(line["tolerance"]) for line in times)
    capsys.readouterr()
    compare_numbers.table(study, out)
    printed = capsys.readouterr().out
    assert "| qat |" in printed and "right" in printed and "WRONG" not in printed


def test_a_cell_is_done_again_with_other_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = shapes.make_folder(tmp_path / "shapes"), tmp_path / "out"
    task = shapes.make_task(tmp_path, shapes.write_recipe(tmp_path / "shapes.toml"))
    torch.manual_seed(0)
    torch.save(task.build().state_dict(), tmp_path / store.STATE)
    study = tmp_path / "study.toml"
    study.write_text(STUDY.format(recipe=tmp_path / "shapes.toml"))
    stage = out / "stages" / "codes" / "0-codebook" / store.RECORD

    def made() -> tuple[int, int]:
        """When the row's bundle and its stage were made."""
        compare_numbers.run(study, tmp_path, tmp_path, out, only="codes")
        model = out / "bundles" / "codes" / "model.tflite"
        return model.stat().st_mtime_ns, stage.stat().st_mtime_ns

    first = made()
    assert made() == first
    (folder / "test" / "red" / "00.png").unlink()
    tested = made()
    assert tested[0] > first[0] and tested[1] == first[1], "only the score is of the test data"
    (folder / "train" / "red" / "00.png").unlink()
    trained = made()
    assert trained[0] > tested[0] and trained[1] > tested[1]
    (row,) = compare_numbers.rows(out)
    keep(out, row.model_copy(update={"data": None}))  # of before rows said of which data they are
    (folder / "test" / "blue" / "00.png").unlink()
    assert made() == trained
    compare_numbers.table(study, out)
    keep(out, row.model_copy(update={"cell": "qat", "data": "other"}))
    compare_numbers.table(study, out)  # what is not known may be the same
    keep(out, row)
    with pytest.raises(BadInputError, match="out: its rows are of different data: "):
        compare_numbers.table(study, out)


def test_a_cell_that_the_study_no_longer_has_is_left_out(
    classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = tmp_path / "study.toml", tmp_path / "out"
    study.write_text(STUDY.format(recipe="r"))
    keep(out, _row("gone"))
    for command in (compare_numbers.table, compare_numbers.time):
        with pytest.raises(BadInputError, match=r"no finished cell of .*study\.toml"):
            command(study, out)
    keep(out, _row("codes"))
    shutil.copytree(classifier, out / "bundles" / "codes")
    compare_numbers.time(study, out, runtime=None, rounds=1)
    times = out / compare_numbers.TIMES
    head, *timed = times.read_text().splitlines()
    assert [line["cell"] for line in csv.DictReader([head, *timed])] == ["codes"]
    times.write_text("\n".join([head, *timed, timed[0].replace("codes", "gone")]))
    capsys.readouterr()
    compare_numbers.table(study, out)
    printed = capsys.readouterr().out
    assert printed.count("| codes |") == 2 and "| gone |" not in printed
    assert "left out, as the study has no cell of this name: gone\n" in printed


def test_a_cell_or_a_split_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(STUDY.format(recipe="r"))
    with pytest.raises(BadInputError, match=r"^--only code: no cell of .*: there are codes, qat$"):
        compare_numbers.run(study, tmp_path, tmp_path, tmp_path / "out", only="code")
    with pytest.raises(BadInputError, match=r"^--split test: expected final or validation$"):
        compare_numbers.run(study, tmp_path, tmp_path, tmp_path / "out", split="test")


def test_a_stage_of_another_network_is_one_line(tmp_path: Path) -> None:
    shapes.make_folder(tmp_path / "shapes")
    shapes.write_recipe(tmp_path / "shapes.toml")
    (tmp_path / "study.toml").write_text(STUDY.format(recipe=tmp_path / "shapes.toml"))
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / store.STATE)
    with pytest.raises(BadInputError, match="not the weights of the network of"):
        compare_numbers.run(
            tmp_path / "study.toml", tmp_path, tmp_path, tmp_path / "out", split="validation"
        )


@pytest.mark.parametrize("content", [b"hi\n", b"", None])
def test_a_stage_without_weights_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    shapes.make_folder(tmp_path / "shapes")
    shapes.write_recipe(tmp_path / "shapes.toml")
    study = tmp_path / "study.toml"
    study.write_text(STUDY.format(recipe=tmp_path / "shapes.toml"))
    if content is not None:
        (tmp_path / store.STATE).write_bytes(content)
    wrong = "give the folder of a finished stage" if content is None else "not the weights of the"
    with pytest.raises(BadInputError, match=f"^--stage .*{wrong}"):
        compare_numbers.run(study, tmp_path, tmp_path, tmp_path / "out", split="validation")


def test_rows_of_another_form_are_one_line(tmp_path: Path) -> None:
    (tmp_path / ROWS).write_text("cell,score\nfloat,1\n")
    with pytest.raises(BadInputError, match=r"rows\.csv: no rows of this script .*move it away"):
        compare_numbers.rows(tmp_path)


def test_a_row_without_a_key_is_finished_whatever_it_was_asked_for(tmp_path: Path) -> None:
    row = _row("codes")
    old = [name for name in compare_numbers.Row.model_fields if name not in ("key", "data")]
    with (tmp_path / "rows.csv").open("w", newline="") as target:
        writer = csv.DictWriter(target, old, extrasaction="ignore")
        writer.writeheader()
        writer.writerow(row.model_dump())
    assert [(found.key, found.data) for found in compare_numbers.rows(tmp_path)] == [(None, None)]
    study = studies.read(_study(tmp_path, "codebook", "fp32"), compare_numbers.Study)
    keys = {study.cell[0].key("parent", split) for split in ("test", "validation")}
    other = studies.read(_study(tmp_path, "sparse", "fp32"), compare_numbers.Study)
    assert len({*keys, other.cell[0].key("parent", "test")}) == 3


def _row(cell: str) -> Row:
    return Row(
        cell=cell, split="test", metric="top1", score=90.0, bytes=1, deflated=1, coded=None,
        weights="", spared="", worst_db=None, answers_db=None, seconds=1.0,
    )  # fmt: skip


def _study(folder: Path, kind: str, scheme: str | None) -> Path:
    more = {"qat": ", epochs = 1, lr = 0.1", "sparse": ", sparsity = 0.5"}.get(kind, "")
    last = "" if scheme is None else f', {{kind = "quantize", scheme = "{scheme}"}}'
    steps = f'{{kind = "{kind}"{more}}}{last}'
    (folder / "study.toml").write_text(f'recipe = "r"\n[[cell]]\nname = "a"\nsteps = [{steps}]\n')
    return folder / "study.toml"


@pytest.mark.parametrize(
    ("kind", "scheme", "reason"),
    [
        ("codebook", None, "the last step of a cell must be quantize"),
        ("qat", "fp32", 'qat trains for scheme = "static-int8": quantize with it must follow'),
        ("resize", "fp32", "Input tag 'resize'"),
    ],
)
def test_a_cell_keeps_the_order_of_a_recipe(
    kind: str, scheme: str | None, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match=rf"not a study: cell\.0\.steps.*{reason}"):
        studies.read(_study(tmp_path, kind, scheme), compare_numbers.Study)


def test_what_is_no_study_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('recipe = "a"\ncell = [{name = "a", steps = []}]')
    with pytest.raises(BadInputError, match=r"x\.toml: not a study: cell\.0\.steps: "):
        studies.read(tmp_path / "x.toml", compare_numbers.Study)
    with pytest.raises(BadInputError, match="run the study first"):
        (tmp_path / "y.toml").write_text('recipe = "a"\ncell = []')
        compare_numbers.table(tmp_path / "y.toml", tmp_path)


def test_a_damaged_model_is_reported_not_hidden(classifier: Path) -> None:
    (classifier / "model.tflite").write_bytes(b"no model")
    script = Path(compare_numbers.__file__).with_name("interleaved.py")
    made = subprocess.run(
        [sys.executable, script, classifier, "--rounds", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"refused"' in made.stdout and "cannot run this model" in made.stdout
