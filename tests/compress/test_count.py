"""Counts against figures from papers and by hand."""

import pytest
import torch
from torch import Tensor, nn

from compress import count
from models.efficientnet_lite import EfficientNetLite0
from models.resnet import ResNet


def test_resnet20_has_the_papers_cost() -> None:
    net = ResNet(20, 10)
    assert count.parameters(net) == 272_474
    assert round(count.macs(net, torch.zeros(1, 3, 32, 32)) / 1e6, 1) == 40.8


def test_efficientnet_lite0_has_the_published_size() -> None:
    net = EfficientNetLite0(1000)
    assert count.parameters(net) == 4_652_008
    assert 384e6 < count.macs(net, torch.zeros(1, 3, 224, 224)) < 408e6


def test_tied_tensors_count_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False)
            self.two.weight = nn.Parameter(self.one.weight.data)  # same memory, another object

        def forward(self, x: Tensor) -> Tensor:
            return torch.add(self.one(x), self.two(x))

    net = Tied()
    assert count.parameters(net) == 25
    assert count.macs(net, torch.zeros(3, 5)) == 2 * 3 * 25


def test_counting_leaves_the_mode_alone() -> None:
    net = nn.Sequential(nn.Linear(2, 2)).train()
    count.macs(net, torch.zeros(1, 2))
    assert net.training


@pytest.mark.parametrize("batch", [1, 3])
def test_a_learned_state_is_counted_with(batch: int) -> None:
    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.start = nn.LSTM(5, 8), nn.Parameter(torch.ones(1, 1, 8))

        def forward(self, x: Tensor) -> Tensor:
            state = self.start.expand(1, x.shape[1], 8)
            answer: Tensor = self.rnn(x, (state, state))[0]
            return answer

    net = Learned()
    net.rnn.bias_hh_l0.requires_grad_(False)
    assert count.macs(net, torch.zeros(7, batch, 5)) == 7 * batch * 4 * 8 * (5 + 8)
    learning = {name for name, values in net.named_parameters() if values.requires_grad}
    assert learning == {"start", "rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0"}
