"""python -m compress, from the command line to signed bundles, on coloured shapes."""

import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from compress import methods, recipe
from compress.__main__ import list_methods, run_recipe
from compress.costs import COSTS
from compress.criteria import CRITERIA
from compress.granularity import GRAINS
from compress.policies import POLICIES
from compress.quantization import SCHEMES
from compress.steps import Prune
from compress.steps.base import TARGETS
from device import bundle, signing
from device.errors import BadInputError, FieldwrenError
from tests.compress import shapes


def _compress(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    environment.pop("FIELDWREN_DATA", None)
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    environment["FIELDWREN_CACHE"] = str(cwd / "no-default-data")
    return subprocess.run(
        [sys.executable, "-m", "compress", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli")
    shapes.make_folder(root / "shapes")
    shapes.write_recipe(root / "shapes.toml", epochs=2)
    return root


@pytest.fixture(scope="module")
def finished(root: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A whole run, and its results' folder."""
    result = _compress("run", root / "shapes.toml", "--data", root, cwd=root)
    return result, root / "runs" / "shapes-seed0"


def test_a_run_leaves_two_signed_bundles(
    finished: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    result, out = finished
    assert result.returncode == 0, result.stderr
    base = bundle.load(out / "shapes-baseline", policy=signing.Policy.REQUIRED).bundle
    small = bundle.load(out / "shapes", policy=signing.Policy.REQUIRED)
    manifest = small.bundle.manifest
    assert small.bundle.labels == ("blue", "green", "red")
    assert manifest.parent == base.model_sha256
    assert manifest.baseline == base.manifest.result
    assert manifest.recipe == (out / "recipe.toml").read_text()
    assert manifest.result.macs < 0.55 * base.manifest.result.macs
    assert manifest.result.parameters < base.manifest.result.parameters
    assert manifest.result.bytes < base.manifest.result.bytes
    assert manifest.result.latency.runs == 5
    assert manifest.temperature != 1  # fitted: nobody is calibrated by chance
    image = np.zeros((1, 16, 16, 3), np.float32)
    assert small({"image": image})["logits"].shape == (1, 3)


def test_the_report_tells_what_happened(
    finished: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    _, out = finished
    report = json.loads((out / "report.json").read_text())
    assert report["split"] == "test"
    assert [stage["kind"] for stage in report["stages"]] == ["baseline", "prune", "finetune"]
    assert [len(stage["log"]) for stage in report["stages"]] == [2, 0, 1]
    assert report["stages"][1]["mask_error"] <= 1e-5
    audit = report["result"]["exported"]["audit"]
    assert set(audit["weights"]) == {"INT8"}
    page = (out / "report.html").read_text()
    for table in ("figures", "stages", "files"):
        assert f'<table id="{table}">' in page
    assert "top1 (test, TFLite)" in page
    kept = audit["constants"]  # also those that its scheme does not call weights
    assert kept["INT8"] > 1000 and f"INT8 {kept['INT8'] / 1000:.1f} " in page
    assert "multiply-accumulates" in page
    assert page.count("<svg") == 5  # Pareto, curves, channels, scores, noise of the int8 layers
    assert not re.search(r'(src|href)="http', page)  # self-contained
    plan = json.loads((out / "channels.json").read_text())
    assert plan[0]["cuts"][0]["layer"]
    assert len((out / "epochs.csv").read_text().splitlines()) == 1 + 3


def test_layers_that_changed_are_told(
    finished: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    result, out = finished
    changes = json.loads((out / "report.json").read_text())["changes"]
    assert f"layers that changed:\n{changes}\n" in result.stdout
    page = html.unescape((out / "report.html").read_text())
    assert f'<pre id="changes">{changes}</pre>' in page
    (plan,) = json.loads((out / "channels.json").read_text())
    pruned = [cut for cut in plan["cuts"] if cut["removed"]]
    assert pruned
    for cut in pruned:
        before, after = cut["channels"], cut["channels"] - len(cut["removed"])
        layer = re.escape(cut["layer"])
        pair = rf"^- {layer}: Conv2d\(\d+, {before},.*\n\+ {layer}: Conv2d\(\d+, {after},"
        assert re.search(pair, changes, re.MULTILINE)


def test_a_second_run_reuses_everything(
    root: Path,
    finished: tuple[subprocess.CompletedProcess[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out = finished
    before = (out / "shapes" / bundle.MANIFEST).read_bytes()
    run_recipe(str(root / "shapes.toml"), data=root, out=out)
    assert capsys.readouterr().out.count("reused") == 5
    assert (out / "shapes" / bundle.MANIFEST).read_bytes() == before


def test_a_damaged_stage_is_named_and_made_again_once_it_is_deleted(
    root: Path,
    finished: tuple[subprocess.CompletedProcess[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = finished[1] / "stages" / "01-prune" / "state.pt"
    before = state.read_bytes()
    state.write_bytes(before[:1000])
    with pytest.raises(BadInputError, match=r"01-prune/state\.pt: damaged.*delete it"):
        run_recipe(str(root / "shapes.toml"), data=root, out=finished[1])
    state.unlink()
    capsys.readouterr()
    run_recipe(str(root / "shapes.toml"), data=root, out=finished[1])
    assert capsys.readouterr().out.count("reused") == 4
    made, expected = (torch.load(each, weights_only=True) for each in (state, io.BytesIO(before)))
    assert all(torch.equal(made[name], value) for name, value in expected.items())


def test_other_test_photos_are_scored_anew(
    root: Path,
    finished: tuple[subprocess.CompletedProcess[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out = finished
    shutil.copytree(root / "shapes", tmp_path / "data" / "shapes")
    shutil.copytree(out, tmp_path / "out")
    next((tmp_path / "data").glob("shapes/test/*/*.png")).unlink()
    run_recipe(str(root / "shapes.toml"), data=tmp_path / "data", out=tmp_path / "out")
    told = capsys.readouterr().out
    assert told.count("reused") == 3  # what was learned from is the same
    assert told.count("converting, scoring, timing") == 2


def test_a_missed_gate_is_an_error_after_everything_is_written(
    root: Path, finished: tuple[subprocess.CompletedProcess[str], Path]
) -> None:
    # the stages are those of the finished run: only the gate, which no score can meet, is new
    path = shapes.write_recipe(root / "strict.toml", epochs=2, max_drop=-101.0)
    _, out = finished
    with pytest.raises(FieldwrenError, match="gate missed: top1 fell by") as missed:
        run_recipe(str(path), data=root, out=out)
    assert missed.value.exit_code == 1
    assert "max_drop = -101.0" in bundle.read(out / "shapes").manifest.recipe


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("nothing", ".", "nothing: no such recipe file"),
        ("shapes.toml", "missing", "missing: no such data folder"),
        ("shapes.toml", "empty", r"no shapes/train in .*empty: expected an ImageFolder"),
        ("shapes.toml", None, "the default data is not complete"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    data: str | None,
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FIELDWREN_DATA", raising=False)
    monkeypatch.setenv("FIELDWREN_CACHE", str(tmp_path / "no-default-data"))
    path = root / name
    with pytest.raises(BadInputError, match=message):
        run_recipe(str(path) if path.exists() else name, data=Path(data) if data else None)
    assert not (tmp_path / "runs").exists()


def test_a_data_folder_may_be_the_image_folder_itself(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with train/ replaces the recipe's paths; a broken photo in it is named."""
    own = shapes.make_folder(tmp_path / "own", train=3, test=1)
    (own / "train" / "red" / "broken.png").write_bytes(b"")
    monkeypatch.setenv("FIELDWREN_DATA", str(own))
    with pytest.raises(BadInputError, match=r"own/train/red/broken\.png: not a readable image"):
        run_recipe(str(root / "shapes.toml"))


def test_an_error_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    result = _compress("run", "nothing", cwd=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: nothing: no such recipe file")


def test_methods_lists_what_there_is() -> None:
    found = methods.found()
    assert set(found["criterion"]) == set(CRITERIA)
    assert set(found["quantizer"]) == set(SCHEMES)
    assert set(found["scope"]) == set(POLICIES) == set(_named(Prune, "scope"))
    assert set(found["budget"]) == set(COSTS) == set(TARGETS)
    assert set(found["grain"]) == set(GRAINS)
    assert set(found["recipe"]) == set(recipe.shipped())
    assert {"birds", "enhancer"} <= set(found["task"])
    assert {"baseline", "prune", "finetune"} <= set(found["stage"])
    for kind, names in found.items():
        summaries = list(names.values())
        assert all(len(summary) > 10 and summary[0] != "[" for summary in summaries), kind
        if kind != "recipe":  # these may have the same steps
            assert len(set(summaries)) == len(summaries), kind


def _named(step: type[Prune], field: str) -> tuple[str, ...]:
    return get_args(step.model_fields[field].annotation)


def test_methods_prints_columns(capsys: pytest.CaptureFixture[str]) -> None:
    list_methods()
    lines = capsys.readouterr().out.splitlines()
    found = methods.found()
    assert len(lines) == sum(map(len, found.values()))
    starts = {
        line.index(summary)
        for line, summary in zip(
            lines, (summary for names in found.values() for summary in names.values()), strict=True
        )
    }
    assert len(starts) == 1


def test_methods_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    list_methods(as_json=True)
    assert json.loads(capsys.readouterr().out) == methods.found()
