"""A budget in milliseconds for networks that are exported as a stream, with layers of its own.

The clock of a busy machine decides nothing here: the real file is measured once, and searches run
on a latency that is a line of the network's multiply-accumulates.
"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from compress import count, prune
from compress.costs import Subject, milliseconds
from compress.costs.line import halved
from compress.costs.milliseconds import ROUNDS, RUNS
from compress.stages import STAGES, Context, fake_prune
from compress.steps import FakePrune, NetAdapt, Prune
from compress.steps.base import Budget
from compress.tasks import enhancer
from compress.tasks.enhancer import Settings
from device.errors import FieldwrenError
from tests.compress import sounds

STEPS: dict[str, type[Budget]] = {"prune": Prune, "netadapt": NetAdapt}
WIDE = {**sounds.SMALL["model"], "residual": 128, "hidden": 256}  # most of its time is products


FIXED, RATE = 0.02, 1e-6  # milliseconds; a multiply-accumulate


@dataclass(frozen=True)
class Start:
    """A network of a task, and what prices it."""

    context: Context
    net: nn.Module
    subject: Subject


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    root = tmp_path_factory.mktemp("streams")
    sounds.make_folder(root / "sounds")
    settings = Settings.model_validate({**sounds.SMALL, "model": WIDE})
    task = enhancer.make(settings, (root / "sounds",), seed=0)
    torch.manual_seed(0)
    net, example = task.build().eval(), task.example()
    groups = prune.untouched(prune.score_groups(net, example, task.head(net), "l1", 0))
    context = Context(task, 0, example, None, root / "checkpoint.pt")
    return Start(context, net, Subject(net, example, groups, task.deploy))


def test_the_real_file_is_measured(start: Start) -> None:
    cost = milliseconds.Milliseconds(start.subject)
    whole, half = (cost.predicted(p) for p in (start.subject.groups, halved(start.subject)))
    assert 0 < half <= whole < 1000
    assert 0 < cost.measured(start.subject.groups, start.net) < 1000


@pytest.mark.parametrize("kind", ["prune", "netadapt"])
def test_the_file_is_within_the_budget(
    start: Start, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = start.context.example

    def latency(net: nn.Module) -> float:
        return FIXED + RATE * count.macs(net, example)

    def rounds(_: object, *nets: nn.Module) -> NDArray[np.float64]:
        return np.array([[latency(net)] * milliseconds.ROUNDS for net in nets])

    monkeypatch.setattr(milliseconds.Milliseconds, "_rounds", rounds)
    budget = 0.7 * latency(start.net)
    step = STEPS[kind].model_validate({"kind": kind, "criterion": "l1", "milliseconds": budget})
    net = copy.deepcopy(start.net)
    outcome = STAGES[kind].run(start.context, net, step)
    assert outcome.plan is not None and isinstance(outcome.structure, dict)
    spent = outcome.structure.get("spent", outcome.structure)
    assert spent["predicted"] == pytest.approx(spent["measured"], rel=0.01)
    assert 0.5 * budget < latency(net) == spent["measured"] <= spent["allowed"] == budget
    assert any(cut.removed for cut in outcome.plan.cuts)


def test_whole_and_half_are_timed_in_turns(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy while one of them would run for itself is busy for both."""
    order: list[int] = []

    class Invoked:
        def __init__(self, parameters: int) -> None:
            self._parameters = parameters

        def invoke(self) -> None:
            order.append(self._parameters)

    def runtime(_: object, net: nn.Module) -> Invoked:
        return Invoked(count.parameters(net))

    monkeypatch.setattr(milliseconds.Milliseconds, "_runtime", runtime)
    milliseconds.Milliseconds(start.subject)
    assert len(order) == 3 * ROUNDS * RUNS  # the whole for itself, then both
    turns = [order[i] for i in range(ROUNDS * RUNS, 3 * ROUNDS * RUNS, RUNS)]
    assert turns[0] != turns[1] and turns == turns[:2] * ROUNDS


def test_a_search_that_would_be_paid_nothing_does_not_start(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Half of the channels, measured 1 % slower: all ratios would be 0, without a word. The next
    attempt does not go by these times."""

    def rounds(_: object, *nets: nn.Module) -> NDArray[np.float64]:
        return np.array([[0.1 + 0.001 * number] * ROUNDS for number, _ in enumerate(nets)])

    monkeypatch.setattr(milliseconds.Milliseconds, "_rounds", rounds)
    monkeypatch.setattr(fake_prune, "search", lambda *_, **__: pytest.fail("it was searched"))
    step = FakePrune(kind="fake-prune", ratio="milliseconds")
    context = replace(start.context, checkpoint=tmp_path / "checkpoint.pt")
    with pytest.raises(FieldwrenError, match=r"0\.1 with all channels, 0\.101 with half"):
        fake_prune.run(context, copy.deepcopy(start.net), step)
    assert not (tmp_path / "times.json").exists()


def test_nor_one_whose_unit_does_not_fall(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_prune.Saving, "ratio", lambda *_: 0.0)
    monkeypatch.setattr(fake_prune, "search", lambda *_, **__: pytest.fail("it was searched"))
    with pytest.raises(FieldwrenError, match='ratio = "macs": half of every'):
        step = FakePrune(kind="fake-prune", ratio="macs")
        fake_prune.run(start.context, copy.deepcopy(start.net), step)
