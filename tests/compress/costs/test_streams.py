"""A budget in milliseconds for networks that are exported as a stream, with layers of its own."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from compress import prune
from compress.costs import COSTS, Subject
from compress.stages import STAGES, Context
from compress.steps import NetAdapt, Prune
from compress.steps.base import Budget
from compress.tasks import enhancer
from compress.tasks.enhancer import Settings
from tests.compress import sounds

STEPS: dict[str, type[Budget]] = {"prune": Prune, "netadapt": NetAdapt}
WIDE = {**sounds.SMALL["model"], "residual": 128, "hidden": 256}  # most of its time is products


@dataclass(frozen=True)
class Start:
    """A network of a task, and 0.7 of its latency."""

    context: Context
    net: nn.Module
    budget: float


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    root = tmp_path_factory.mktemp("streams")
    sounds.make_folder(root / "sounds")
    settings = Settings.model_validate({**sounds.SMALL, "model": WIDE})
    task = enhancer.make(settings, (root / "sounds",), seed=0)
    torch.manual_seed(0)
    net, example = task.build().eval(), task.example()
    groups = prune.untouched(prune.score_groups(net, example, task.head(net), "l1", 0))
    whole = COSTS["milliseconds"](Subject(net, example, groups, task.deploy)).predicted(groups)
    return Start(Context(task, 0, example, None, root / "checkpoint.pt"), net, 0.7 * whole)


@pytest.mark.parametrize("kind", ["prune", "netadapt"])
def test_the_file_is_measured_within_the_budget(start: Start, kind: str) -> None:
    table = {"kind": kind, "criterion": "l1", "milliseconds": start.budget}
    step = STEPS[kind].model_validate(table)
    outcome = STAGES[kind].run(start.context, copy.deepcopy(start.net), step)
    assert outcome.plan is not None and isinstance(outcome.structure, dict)
    spent = outcome.structure.get("spent", outcome.structure)
    assert spent["measured"] <= spent["allowed"] == start.budget < spent["whole"]
    assert any(cut.removed for cut in outcome.plan.cuts)
