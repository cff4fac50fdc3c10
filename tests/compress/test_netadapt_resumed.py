"""A NetAdapt search that was interrupted goes on where it was."""

import copy
from pathlib import Path

import pytest
import torch

from compress.stages import netadapt as stage
from device.errors import BadInputError
from tests.compress import shapes
from tests.compress.adapted import context_in, made_step


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("netadapt")
    shapes.make_folder(root / "shapes")
    shapes.write_recipe(root / "shapes.toml")
    return root


def test_a_search_goes_on_after_its_last_iteration(root: Path, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    step = made_step(repair=True)
    context, whole = context_in(root, tmp_path / "whole")
    expected = stage.run(context, whole, step)
    context, net = context_in(root, tmp_path / "parts")
    first = stage.Search(context, net, step)
    assert first.step_down()
    state = torch.load(context.checkpoint, weights_only=True)
    state["log"][0]["seconds"] = 6000.0
    torch.save(state, context.checkpoint)
    again = stage.run(context, net, step)  # a new search: only the checkpoint is common
    assert (expected.before, again.before) == (0, 6000)
    assert again.plan == expected.plan
    parts = zip(whole.state_dict().values(), net.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in parts)
    assert isinstance(again.structure, dict) and isinstance(expected.structure, dict)
    kept = [one["kept"] for one in again.structure["iterations"]]
    assert kept == [one["kept"] for one in expected.structure["iterations"]]


def test_a_damaged_search_is_named(root: Path, tmp_path: Path) -> None:
    context, net = context_in(root, tmp_path)
    context.checkpoint.write_bytes(b"damaged")
    with pytest.raises(BadInputError, match=r"checkpoint\.pt: damaged"):
        stage.run(context, net, made_step())


class Killed(Exception):  # noqa: N818 - no error
    """What ends a search in the middle of a candidate."""


def test_a_search_goes_on_within_a_candidate(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = made_step(macs=0.9, finetune={"epochs": 2, "lr": 0.02})
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    context, whole = context_in(root, tmp_path / "whole")
    stage.run(context, whole, step)
    context, net = context_in(root, tmp_path / "parts")
    asked = 0
    batches = context.task.batches

    def stop(epoch: int, seed: int) -> object:
        nonlocal asked
        asked += epoch == 1
        if asked == 3:  # the third candidate, its first epoch is in its checkpoint
            raise Killed
        return batches(epoch, seed)

    monkeypatch.setattr(context.task, "batches", stop)
    with pytest.raises(Killed):
        stage.run(context, copy.deepcopy(net), step)
    (checkpoint,) = (tmp_path / "parts").glob("candidate-*.pt")
    state = torch.load(checkpoint, weights_only=True)
    state["log"][0]["seconds"] = 6000.0
    torch.save(state, checkpoint)
    monkeypatch.setattr(context.task, "batches", batches)
    outcome = stage.run(context, net, step)
    assert outcome.before == 6000
    assert isinstance(outcome.structure, dict)
    assert 6000 < outcome.structure["iterations"][0]["seconds"] < 7000
    parts = zip(whole.state_dict().values(), net.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in parts)
