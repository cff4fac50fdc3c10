"""CICR with limits of its own for scores that validation leaves out: the smallest enhancer."""

from pathlib import Path
from typing import Any

import pytest
import torch

from compress import store
from compress.stages import Context
from compress.stages import cicr as stage
from compress.steps import Cicr
from compress.task import every_score
from compress.tasks import enhancer
from compress.tasks.enhancer import Enhancer, Settings
from device.errors import BadInputError
from tests.compress import sounds


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Enhancer:
    folder = sounds.make_folder(tmp_path_factory.mktemp("limits") / "sounds")
    return enhancer.make(Settings.model_validate(sounds.SMALL), (folder,), 0)


def _step(**changes: Any) -> Cicr:
    """Training that ruins a network, and a primary score that may fall as far as it likes."""
    ruin = {"epochs": 1, "lr": 10.0, "warmup": 0.0, "precision": "32-true"}
    table = {"kind": "cicr", "acc_loss": 1000.0, "interval": 0.5, "finetune": ruin, **changes}
    return Cicr.model_validate(table)


def _start(task: Enhancer, folder: Path) -> tuple[Context, torch.nn.Module]:
    torch.manual_seed(0)
    net = task.build().eval()
    return Context(task, 0, task.example(), None, folder / "checkpoint.pt"), net


def test_validation_has_every_score_on_request_and_never_the_pairs(task: Enhancer) -> None:
    net = task.build()
    usual, every = task.evaluate(net, "validation"), every_score(task, net, "validation")
    assert "stoi" not in usual.scores and "noisy_stoi" not in usual.scores
    assert {"stoi", "estoi", "noisy_stoi"} <= set(every.scores)
    assert usual.value == every.value
    assert not any(name.startswith("pairs") for name in every.scores)
    assert set(every.scores) == set(task.score_names())


def test_a_limit_refuses_what_the_primary_score_would_take(
    task: Enhancer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context, net = _start(task, tmp_path / "free")
    free = stage.run(context, net, _step())
    assert [(p.accepted, p.further) for p in free.probes] == [(True, {})]
    context, net = _start(task, tmp_path / "limited")
    original = every_score(task, net, "validation").scores["stoi"]
    limited = stage.run(context, net, _step(limits={"stoi": 0.005}))
    (probe,) = limited.probes
    assert not probe.accepted and probe.further["stoi"] < original - 0.005
    assert f"stoi {probe.further['stoi']:.3f} of {original:.3f}, " in capsys.readouterr().out
    (path,) = (tmp_path / "limited").glob(f"probe-*/{store.RECORD}")
    record = store.Record.model_validate_json(path.read_bytes())
    assert record.validation["stoi"] == probe.further["stoi"]
    context, net = _start(task, tmp_path / "wide")
    assert [p.accepted for p in stage.run(context, net, _step(limits={"stoi": 2.0})).probes] == [
        True
    ]


def test_a_score_that_is_not_there_is_refused_before_the_first_probe(
    task: Enhancer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "made", lambda *_: pytest.fail("a probe was made"))
    context, net = _start(task, tmp_path)
    with pytest.raises(BadInputError, match=r"limits\.pesq: there are estoi, noisy_estoi, .*stoi"):
        stage.run(context, net, _step(limits={"pesq": 0.02}))


def test_without_limits_a_stage_keeps_its_key() -> None:
    assert "limits" not in _step().model_dump(exclude_defaults=True)
    with pytest.raises(ValueError, match="greater than 0"):
        _step(limits={"stoi": 0.0})
