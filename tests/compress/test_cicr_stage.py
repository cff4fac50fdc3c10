"""CICR as a recipe's step: killed and gone on with, from its files, and with doubts."""

import io
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from compress import count, prune, store
from compress.pipeline import train
from compress.recipe import load
from compress.stages import Context
from compress.stages import cicr as stage
from compress.steps import Cicr
from compress.tasks.birds import Birds
from device.errors import BadInputError
from tests.compress import shapes

STEP = """
[[steps]]
kind = "cicr"
acc_loss = 40.0
interval = 0.2
round_to = 4
[steps.finetune]
epochs = 1
lr = 0.02
distil = true
"""
GATES = """
[[steps]]
kind = "infcp"
ratio = 0.25
round_to = 4
epochs = 1
lr = 0.02
window = 2
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cicr")
    shapes.make_folder(root / "shapes")
    whole = shapes.write_recipe(root / "shapes.toml", epochs=3).read_text()
    prune_step = '[[steps]]\nkind = "prune"\ncriterion = "l1"\nmacs = 0.5\n'
    assert prune_step in whole
    (root / "search.toml").write_text(whole.replace(prune_step, STEP))
    (root / "both.toml").write_text(whole.replace(prune_step, GATES + STEP))
    return root


def _context(root: Path, folder: Path) -> tuple[Context, torch.nn.Module, Cicr]:
    path = root / "search.toml"
    task = shapes.make_task(root, path)
    torch.manual_seed(0)
    net = task.build().eval()
    step = load(str(path)).steps[0]
    assert isinstance(step, Cicr)
    teacher = task.build().eval()
    return Context(task, 0, task.example(), teacher, folder / "checkpoint.pt"), net, step


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_killed_search_goes_on_and_ends_the_same(root: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.compress.interrupted_search", str(root), str(tmp_path), "2"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if "hanging" in line:
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "".join(seen)
    finished = sorted(path.parent.name for path in tmp_path.glob(f"probe-*/{store.RECORD}"))
    assert len(finished) == 2
    times = {name: (tmp_path / name / store.RECORD).stat().st_mtime_ns for name in finished}

    context, net, step = _context(root, tmp_path)
    resumed = stage.run(context, net, step)
    assert all(
        (tmp_path / name / store.RECORD).stat().st_mtime_ns == then for name, then in times.items()
    )
    context, other, step = _context(root, tmp_path / "whole")
    whole = stage.run(context, other, step)
    assert resumed.plan == whole.plan
    assert [p.score for p in resumed.probes] == [p.score for p in whole.probes]
    assert len(whole.probes) == 3
    assert _equal(net.state_dict(), other.state_dict())
    for state in tmp_path.glob(f"probe-*/{store.STATE}"):
        state.write_bytes(b"damaged")
    context, net, step = _context(root, tmp_path)
    with pytest.raises(BadInputError, match=r"probe-.*state\.pt: damaged"):
        stage.run(context, net, step)


def test_the_best_candidate_is_what_its_files_say(root: Path, tmp_path: Path) -> None:
    context, net, step = _context(root, tmp_path)
    before = count.macs(net, context.example)
    outcome = stage.run(context, net, step)
    accepted = [probe for probe in outcome.probes if probe.accepted]
    best = min(accepted, key=lambda probe: probe.cr)
    assert count.macs(net, context.example) == best.macs < before
    assert outcome.mask_error is not None and outcome.mask_error <= 1e-5
    folder = tmp_path / f"probe-{best.cr:.6f}-{best.attempt}"
    record = store.Record.model_validate_json((folder / store.RECORD).read_bytes())
    assert record.plan == outcome.plan
    assert _equal(net.state_dict(), torch.load(folder / store.STATE, weights_only=True))
    _, fresh, _ = _context(root, tmp_path)
    assert record.plan is not None
    prune.remove(fresh, context.example, record.plan)
    fresh.load_state_dict(torch.load(folder / store.STATE, weights_only=True))
    assert context.task.evaluate(fresh, "validation").value == best.score


def test_rates_with_one_plan_share_one_training(root: Path, tmp_path: Path) -> None:
    context, net, step = _context(root, tmp_path)
    coarse = step.model_copy(update={"round_to": 16, "interval": 0.05})
    outcome = stage.run(context, net, coarse)
    trained = list(tmp_path.glob(f"probe-*/{store.RECORD}"))
    assert len(outcome.probes) == 5
    assert len(trained) < 5
    assert sum(probe.seconds > 0 for probe in outcome.probes) == len(trained)


def test_the_time_of_a_probe_is_that_of_all_its_epochs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, net, _ = _context(root, tmp_path)
    finetune = {"epochs": 2, "lr": 0.02}
    step = Cicr(kind="cicr", acc_loss=100.0, interval=0.5, finetune=finetune)
    batches = context.task.batches

    def power_cut(epoch: int, seed: int) -> object:
        if epoch == 1:
            raise KeyboardInterrupt
        return batches(epoch, seed)

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(context.task, "batches", power_cut)
        stage.run(context, net, step)
    (checkpoint,) = tmp_path.glob("probe-*/checkpoint.pt")
    state = torch.load(checkpoint, weights_only=True)
    state["log"][0]["seconds"] = 6000.0
    torch.save(state, checkpoint)
    (probe,) = stage.run(context, net, step).probes
    assert 6000 < probe.seconds < 7000


def test_a_recipe_with_both_searches_runs_through_the_command_line(root: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    environment["FIELDWREN_CACHE"] = str(root / "no-default-data")
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "compress", "run", "both.toml", "--data", "."]
    run = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    out = root / "runs" / "shapes-seed0"
    report = json.loads((out / "report.json").read_text())
    kinds = [entry["kind"] for entry in report["stages"]]
    assert kinds == ["baseline", "infcp", "cicr", "finetune"]
    whole, gates, search, _ = report["stages"]
    assert whole["macs"] > gates["macs"] > search["macs"]
    for pruned in (gates, search):
        assert pruned["mask_error"] <= 1e-5
    assert all(cut["channels"] * 3 == len(cut["removed"]) * 12 for cut in gates["plan"]["cuts"])
    plans = json.loads((out / "channels.json").read_text())
    assert plans == [gates["plan"], search["plan"]]
    assert [probe["attempt"] for probe in search["probes"]] == [0, 0, 0]
    page = (out / "report.html").read_text()
    assert re.search(r"5 runs; other work \d+ % of the time</dd>", page)
    assert page.count("<td>accepted</td>") + page.count("<td>refused</td>") == 3


def test_a_finished_search_is_reused(root: Path, tmp_path: Path) -> None:
    path = root / "search.toml"
    recipe, task, told = load(str(path)), shapes.make_task(root, path), io.StringIO()
    console = Console(file=told, soft_wrap=True)
    first = train(recipe, task, tmp_path, 0, console)
    assert "reused" not in told.getvalue()
    again = train(recipe, task, tmp_path, 0, console)
    assert told.getvalue().count("reused") == 3
    assert again.records == first.records
    assert len(again.records[1].probes) == 3
    assert _equal(again.result.state_dict(), first.result.state_dict())


def test_without_an_acceptable_candidate_the_network_stays_whole(
    root: Path, tmp_path: Path
) -> None:
    context, net, step = _context(root, tmp_path)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    impossible = step.model_copy(update={"acc_loss": -1000.0})
    outcome = stage.run(context, net, impossible)
    assert outcome.plan is not None and not any(cut.removed for cut in outcome.plan.cuts)
    assert not any(probe.accepted for probe in outcome.probes)
    assert _equal(net.state_dict(), state)


def test_how_far_it_may_fall_is_all_that_it_needs_to_know(root: Path, tmp_path: Path) -> None:
    context, net, _ = _context(root, tmp_path)
    outcome = stage.run(context, net, Cicr(kind="cicr", acc_loss=100.0, interval=0.5))
    assert [probe.accepted for probe in outcome.probes] == [True]
    assert len(outcome.log) == 1


def test_a_training_that_is_given_counts_in_the_key_as_it_did_without_a_default() -> None:
    table = {"kind": "cicr", "acc_loss": 2.0, "finetune": {"epochs": 1, "lr": 0.02}}
    assert Cicr.model_validate(table).model_dump(exclude_defaults=True) == table


def test_what_is_close_is_told_or_follows_from_the_validation_photos(
    root: Path, tmp_path: Path
) -> None:
    context, net, step = _context(root, tmp_path)
    probes, task = stage.Probes(context, net, step), context.task
    assert isinstance(task, Birds)

    def margin(**changes: object) -> float:
        probes.step = step.model_copy(update=changes)
        return probes._margin(80.0)

    assert margin() == 0
    assert margin(recheck=True) == pytest.approx(40 / math.sqrt(len(task.validation)))
    assert margin(recheck=True, margin=3.0) == 3
    task.kind = "enhance"
    assert margin(recheck=True) == step.acc_loss
    with pytest.raises(ValueError, match="nothing is doubted without recheck"):
        Cicr(kind="cicr", margin=1.0)


def test_a_doubted_rate_is_trained_anew_with_another_seed(root: Path, tmp_path: Path) -> None:
    context, net, step = _context(root, tmp_path)
    # every decision is within the margin of a hundred points, so the last two are doubted
    doubting = step.model_copy(update={"recheck": True, "margin": 100.0})
    found = stage.Probes(context, net, doubting).search(threshold=50.0)
    again = [probe for probe in found.probes if probe.attempt == 1]
    assert again
    for probe in again:
        folders = [tmp_path / f"probe-{probe.cr:.6f}-{attempt}" for attempt in (0, 1)]
        one, other = (torch.load(f / store.STATE, weights_only=True) for f in folders)
        assert not _equal(one, other)
        records = [
            store.Record.model_validate_json((f / store.RECORD).read_bytes()) for f in folders
        ]
        assert records[0].plan == records[1].plan
