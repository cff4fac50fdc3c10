"""A budget in milliseconds for networks that are exported as a stream, with layers of its own.

The clock of a busy machine decides nothing here: the real file is measured once, and searches run
on a latency that is a line of the network's multiply-accumulates.
"""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from compress import count, prune
from compress.costs import Subject, milliseconds
from compress.costs.line import halved
from compress.stages import STAGES, Context
from compress.steps import NetAdapt, Prune
from compress.steps.base import Budget
from compress.tasks import enhancer
from compress.tasks.enhancer import Settings
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

    def latency(_: object, net: nn.Module) -> float:
        return FIXED + RATE * count.macs(net, example)

    monkeypatch.setattr(milliseconds.Milliseconds, "_latency", latency)
    budget = 0.7 * latency(None, start.net)
    step = STEPS[kind].model_validate({"kind": kind, "criterion": "l1", "milliseconds": budget})
    net = copy.deepcopy(start.net)
    outcome = STAGES[kind].run(start.context, net, step)
    assert outcome.plan is not None and isinstance(outcome.structure, dict)
    spent = outcome.structure.get("spent", outcome.structure)
    assert spent["predicted"] == pytest.approx(spent["measured"], rel=0.01)
    assert 0.5 * budget < latency(None, net) == spent["measured"] <= spent["allowed"] == budget
    assert any(cut.removed for cut in outcome.plan.cuts)
