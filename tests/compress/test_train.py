"""Training: the same from the same seed, and from a checkpoint as without the interruption."""

import copy
import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch._dynamo.utils import counters

from compress import recipe, tensors, train
from compress.stages import finetune
from compress.stages.base import Context
from compress.steps import Finetune, Schedule
from compress.task import Batch
from compress.tasks.birds import Birds
from device.errors import BadInputError, FieldwrenError
from tests.compress import shapes

EPOCHS = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("train")
    shapes.make_folder(root / "shapes")
    shapes.write_recipe(root / "shapes.toml", epochs=EPOCHS)
    return root


def _fit(
    root: Path, checkpoint: Path, seed: int = 0, **other: Any
) -> tuple[dict[str, Tensor], list[float]]:
    path = root / "shapes.toml"
    task = shapes.make_task(root, path)
    torch.manual_seed(0)
    net = task.build()
    schedule = recipe.load(str(path)).baseline.model_copy(update=other)
    log = train.fit(task, net, schedule, seed=seed, checkpoint=checkpoint, label="train")
    return net.state_dict(), [entry.loss for entry in log]


def test_killed_and_resumed_training_ends_with_the_same_weights(root: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "killed.pt"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.compress.interrupted",
            *map(str, (root, root / "shapes.toml", checkpoint, 1)),
        ],
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
    stored = torch.load(checkpoint, weights_only=True)
    assert len(stored["log"]) == 1
    resumed, losses = _fit(root, checkpoint)
    whole, expected = _fit(root, tmp_path / "whole.pt")
    assert losses == expected
    assert len(losses) == EPOCHS
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name


def test_another_seed_ends_elsewhere(root: Path, tmp_path: Path) -> None:
    one, _ = _fit(root, tmp_path / "one.pt", seed=0)
    other, _ = _fit(root, tmp_path / "other.pt", seed=1)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


def test_compiled_it_learns_the_same_but_for_rounding(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    alike = {"precision": "32-true", "epochs": 1}
    state, losses = _fit(root, tmp_path / "plain.pt", **alike)
    monkeypatch.setenv("CXX", "no-such-compiler")
    other, told = _fit(root, tmp_path / "without.pt", compiled=True, **alike)
    assert "not compiled, which is slower: there is no no-such-compiler" in capsys.readouterr().out
    assert told == losses
    assert all(torch.equal(other[name], value) for name, value in state.items())
    monkeypatch.delenv("CXX")
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    before = counters["stats"]["unique_graphs"]
    quick, told = _fit(root, tmp_path / "compiled.pt", compiled=True, **alike)
    assert counters["stats"]["unique_graphs"] > before
    assert told == pytest.approx(losses, rel=1e-3)
    for name, value in state.items():
        torch.testing.assert_close(quick[name], value, rtol=1e-2, atol=1e-3)


def test_a_teacher_does_not_learn_and_is_given_back_as_it_was(root: Path, tmp_path: Path) -> None:
    path = root / "shapes.toml"
    task = shapes.make_task(root, path)
    schedule = recipe.load(str(path)).baseline.model_copy(update={"epochs": 1})
    torch.manual_seed(0)
    teacher = task.build()
    teacher.stem.requires_grad_(False)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    free = [parameter.requires_grad for parameter in teacher.parameters()]
    assert len(set(free)) == 2
    train.fit(
        task,
        task.build(),
        schedule,
        seed=0,
        checkpoint=tmp_path / "taught.pt",
        label="train",
        teacher=teacher,
    )
    assert [parameter.requires_grad for parameter in teacher.parameters()] == free
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_views_that_come_again_are_remembered_as_the_teacher_would_answer(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "shapes.toml"
    text = path.read_text()
    path = tmp_path / "mixed.toml"
    path.write_text(text.replace("[baseline]", "[loss]\nmixup = 0.5\n[baseline]"))
    task = shapes.make_task(root, path)
    schedule = recipe.load(str(path)).baseline.model_copy(update={"epochs": 5})
    torch.manual_seed(0)
    teacher = task.build()
    asked: list[int] = []
    teacher.register_forward_hook(lambda *_: asked.append(1))
    save, checkpoint, early = train._save, tmp_path / "taught.pt", tmp_path / "early.pt"

    def spare(to: Path, *rest: Any) -> None:
        save(to, *rest)
        if len(rest[-1]) == 3:  # epochs: the next one shows the second views again
            early.write_bytes(to.read_bytes())

    monkeypatch.setattr(train, "_save", spare)

    def taught(at: Path, views: int | None) -> dict[str, Tensor]:
        torch.manual_seed(1)
        net = task.build()
        arguments = {"checkpoint": at, "label": "train", "teacher": teacher, "views": views}
        train.fit(task, net, schedule, seed=0, **arguments)
        return net.state_dict()

    whole = taught(checkpoint, 2)
    assert len(asked) == 2 * task.steps()
    asked.clear()
    resumed = taught(early, 2)  # has forgotten all, and asks
    assert len(asked) == 2 * task.steps()
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name
    fresh = taught(tmp_path / "fresh.pt", None)
    assert not torch.equal(fresh["classifier.weight"], whole["classifier.weight"])


def test_a_second_training_may_see_other_views(root: Path, tmp_path: Path) -> None:
    task = shapes.make_task(root, root / "shapes.toml")
    net = task.build()

    def tuned(seed: int | None) -> Tensor:
        step = Finetune(kind="finetune", epochs=1, lr=0.01, seed=seed)
        copied = copy.deepcopy(net)
        context = Context(task, 0, task.example(), None, tmp_path / f"{seed}.pt")
        finetune.run(context, copied, step)
        weight: Tensor = copied.get_submodule("classifier").weight
        return weight

    assert torch.equal(tuned(None), tuned(0))
    assert not torch.equal(tuned(None), tuned(1))


def test_views_go_with_a_teacher_whose_layers_nobody_looks_at() -> None:
    hints = {"hints": {"stem": "stem"}}
    table = {"kind": "finetune", "epochs": 2, "lr": 0.1, "views": 1}
    with pytest.raises(ValidationError, match="views: hints and attention"):
        Finetune.model_validate({**table, "distil": hints})
    with pytest.raises(ValidationError, match=r"views: .* only with distil"):
        Finetune.model_validate(table)


def test_the_rate_warms_up_then_falls_to_zero() -> None:
    schedule = Schedule(epochs=10, lr=1.0, warmup=2.0)
    rates = [train.rate(step, 5, schedule) for step in range(50)]
    assert rates[0] == pytest.approx(1 / 11)
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert rates[10] == pytest.approx(1.0)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert train.rate(50, 5, schedule) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("clip", [None, 5.0])
def test_a_loss_that_is_not_finite_stops_the_run(
    root: Path, tmp_path: Path, clip: float | None
) -> None:
    class Broken(Birds):
        def loss(self, net: nn.Module, batch: Batch, teacher: nn.Module | None) -> Tensor:
            return super().loss(net, batch, teacher) * float("nan")

    _refused(root, tmp_path / "x.pt", Broken, Schedule(epochs=1, lr=0.1, clip=clip))


def test_a_gradient_that_is_not_finite_stops_the_run(root: Path, tmp_path: Path) -> None:
    """Clipping would make weights of it that are none, and the loss of the batch is fine."""

    class Steep(Birds):
        def loss(self, net: nn.Module, batch: Batch, teacher: nn.Module | None) -> Tensor:
            whole = super().loss(net, batch, teacher)
            return (whole - whole).abs().sqrt()  # zero, and infinitely steep

    _refused(root, tmp_path / "x.pt", Steep, Schedule(epochs=1, lr=0.1, clip=5.0))


def test_a_damaged_checkpoint_is_named(root: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"damaged")
    with pytest.raises(BadInputError, match=r"checkpoint\.pt: damaged"):
        _fit(root, checkpoint)
    with pytest.raises(BadInputError, match=r"checkpoint\.pt: damaged"):
        train.spent(checkpoint)
    tensors.save(checkpoint, {"net": {}})
    with pytest.raises(BadInputError, match=r"checkpoint\.pt: damaged"):
        _fit(root, checkpoint)


def _refused(root: Path, checkpoint: Path, kind: type[Birds], schedule: Schedule) -> None:
    task = shapes.make_task(root, root / "shapes.toml")
    task.__class__ = kind
    with pytest.raises(FieldwrenError, match="not finite in epoch 1: lower lr"):
        train.fit(task, task.build(), schedule, seed=0, checkpoint=checkpoint, label="train")
    assert not checkpoint.exists()


def test_the_head_may_learn_faster_and_vectors_do_not_decay(root: Path) -> None:
    task = shapes.make_task(root, root / "shapes.toml")
    net = task.build()
    schedule = Schedule(epochs=1, lr=0.1, head_lr=10.0, weight_decay=0.01)
    groups = train._optimizer(net, task.head(net), schedule).param_groups
    found = {
        (group["peak"], group["weight_decay"], parameter.ndim > 1)
        for group in groups
        for parameter in group["params"]
    }
    assert found == {
        (0.1, 0.01, True),
        (0.1, 0.0, False),
        (1.0, 0.01, True),
        (1.0, 0.0, False),
    }
