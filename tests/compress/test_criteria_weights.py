"""Criteria that look at weights alone, against their formulas written out."""

import math
from typing import Any

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from compress.criteria import CRITERIA
from compress.criteria.base import Statistics
from compress.criteria.members import mean_share, producers
from device.errors import FieldwrenError


class Tied(nn.Module):
    """Two convolutions and a transposed one, joined by sums, then a linear answer."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 6, 3, padding=1)
        self.two = nn.Conv2d(3, 6, 1)
        self.three = nn.ConvTranspose2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.answer = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        joined = self.norm(self.one(x)) + self.two(x) + self.three(x)
        logits: Tensor = self.answer(joined.relu().mean((2, 3)))
        return logits


def _net() -> Tied:
    torch.manual_seed(0)
    net = Tied().eval()
    nn.init.normal_(net.norm.weight)
    return net


def _group(net: nn.Module, layer: nn.Module) -> Any:
    graph = tp.DependencyGraph().build_dependency(net, torch.randn(1, 3, 8, 8))
    pruner = graph.get_pruner_of_module(layer)
    return graph.get_pruning_group(layer, pruner.prune_out_channels, list(range(6)))


def _filters(net: Tied) -> list[list[Tensor]]:
    """Filter c of every layer that makes the group's channels."""
    return [
        list(net.one.weight.detach()),
        list(net.two.weight.detach()),
        [net.three.weight.detach()[:, c] for c in range(6)],
    ]


def _shares(rows: list[list[float]]) -> list[float]:
    """Mean over layers of each value over its layer's mean."""
    return [
        sum(row[c] / (sum(row) / len(row)) for row in rows) / len(rows) for c in range(len(rows[0]))
    ]


def _score(criterion: str, net: Tied) -> list[float]:
    scores: list[float] = CRITERIA[criterion](_group(net, net.one), Statistics(0)).tolist()
    return scores


def test_l1() -> None:
    net = _net()
    norms = [[float(w.abs().sum()) for w in layer] for layer in _filters(net)]
    assert _score("l1", net) == pytest.approx(_shares(norms))


def test_l2() -> None:
    net = _net()
    norms = [[math.sqrt(float((w * w).sum())) for w in layer] for layer in _filters(net)]
    assert _score("l2", net) == pytest.approx(_shares(norms))


def test_fpgm() -> None:
    net = _net()
    sums = [
        [sum(math.sqrt(float(((w - v) ** 2).sum())) for v in layer) for w in layer]
        for layer in _filters(net)
    ]
    assert _score("fpgm", net) == pytest.approx(_shares(sums), rel=1e-5)


def test_fpgm_drops_the_copy_not_the_small_filter() -> None:
    net = _net()
    with torch.no_grad():
        for layer in _filters(net):
            for c in range(1, 6):
                layer[c].copy_(layer[1] + 0.01 * c)
            layer[0].mul_(0.01)
    scores = _score("fpgm", net)
    assert max(scores) == scores[0]


def test_bn_scale() -> None:
    net = _net()
    assert _score("bn_scale", net) == pytest.approx(_shares([net.norm.weight.abs().tolist()]))


def test_bn_scale_without_a_norm_says_so() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    with pytest.raises(FieldwrenError, match=r"^0: .*bn_scale scores by the norm behind"):
        CRITERIA["bn_scale"](_group(net, net[0]), Statistics(0))


def test_a_layer_that_is_dead_altogether_scores_zero() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1))
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    for criterion in ("l1", "l2", "fpgm", "bn_scale"):
        assert CRITERIA[criterion](_group(net, net[0]), Statistics(0)).tolist() == [0] * 6


def test_weights_on_an_accelerator_are_added_up_on_the_cpu() -> None:
    """With tensors that hold no values but know which devices may meet: none is needed here."""
    net = _net()
    group = _group(net, net.one)
    with FakeTensorMode():
        scores = mean_share(group, producers(group), lambda member: torch.rand(6, device="cuda"))
    assert scores.device.type == "cpu"
    assert scores.shape == (6,)
