"""Every recurrent step on the enhancers that have LSTMs, each proved in float64."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from compress import count
from compress.stages import STAGES
from compress.stages.base import Context
from compress.steps import Step
from compress.task import Batch, Quality, Task
from models.fullsubnet import FullSubNet
from models.fullsubnet_fast import FastFullSubNet
from models.masks import MaskNet, stream_whole
from models.tcn_hybrid import TCNHybrid
from tests.models.test_fullsubnet import lively

BINS = 17
NETWORKS: dict[str, Callable[[], MaskNet]] = {
    "fullsubnet": lambda: FullSubNet(BINS, "complex", (12, 10), (8, 6), 2),
    "fast": lambda: FastFullSubNet(
        BINS, "complex", bands=8, encoder=(12,), sub=(10, 8), decoder=(12, 10), reach=2
    ),
    "hybrid": lambda: TCNHybrid(BINS, hidden=12, dilations=(1, 2), sub=(8, 6), reach=2),
}
STEPS: list[dict[str, object]] = [
    {"kind": "rnn-units", "criterion": "influence", "ratio": 0.5, "round_to": 2},
    {"kind": "rnn-units", "criterion": "l1", "parameters": 0.9, "round_to": 1},
    {"kind": "rnn-columns", "criterion": "l1", "ratio": 0.4},
    {"kind": "rnn-svd", "energy": 0.6},
    {"kind": "rnn-gates", "ratio": 0.5, "window": 2, "epochs": 1, "lr": 0.005,
     "optimizer": "adamw", "precision": "32-true"},
]  # fmt: skip


class Masks:
    """As much of a task as the steps ask for: features and the masks to find."""

    def head(self, net: nn.Module) -> list[nn.Module]:
        assert isinstance(net, MaskNet)
        return [net.answer]

    def steps(self) -> int:
        return 4

    def batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        random = torch.Generator().manual_seed(seed)
        for _ in range(self.steps()):
            yield torch.rand(2, BINS, 9, generator=random), torch.zeros(1)

    def loss(self, net: nn.Module, batch: Batch, teacher: nn.Module | None) -> Tensor:
        found: Tensor = net(batch[0])
        return (found - batch[1]).square().mean()

    def evaluate(self, net: nn.Module, split: str) -> Quality:
        return Quality("score", {"score": 0.0})


@pytest.mark.parametrize("table", STEPS, ids=lambda table: f"{table['kind']}")
@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_is_proved(network: str, table: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = lively(NETWORKS[network]())
    example = torch.rand(1, BINS, 9)
    teacher = copy.deepcopy(net)
    context = Context(cast(Task, Masks()), 0, example, teacher, tmp_path / "checkpoint.pt")
    step = TypeAdapter[Any](Step).validate_python(table)
    outcome = STAGES[table["kind"]].run(context, net, step)
    assert outcome.mask_error is not None and outcome.mask_error <= 1e-5
    assert count.parameters(net) < count.parameters(teacher)
    with torch.no_grad():
        said = stream_whole(net.stream(), example, net.lookahead)
        torch.testing.assert_close(said, net.eval()(example), atol=1e-4, rtol=1e-4)
