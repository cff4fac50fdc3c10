"""Counts against figures from papers and by hand."""

import pytest
import torch
import torch.nn.functional as F
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


def _encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)


class Attending(nn.Module):
    """Attention of single functions, without layers."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


class Itself(nn.Module):
    """A layer of attention whose questions are its places: computed by a fused operator at rest."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x, x, x)[0]
        return y


class Times(nn.Module):
    """A matrix and a vector."""

    def forward(self, matrix: Tensor, vector: Tensor) -> Tensor:
        return matrix @ vector


# 10 places, 32 channels in 4 heads of 8: projections, then q·kᵀ and its product with v
PROJECTED, ATTENDED = 10 * 32 * (3 + 1) * 32, 4 * (10 * 8 * 10 + 10 * 10 * 8)


@pytest.mark.parametrize(
    ("net", "shapes", "macs"),
    [
        (_encoder(), [(1, 10, 32)], PROJECTED + ATTENDED + 10 * 2 * 32 * 64),
        (nn.TransformerEncoder(_encoder(), 2), [(1, 10, 32)], 2 * 88_320),
        (Itself(), [(1, 10, 32)], PROJECTED + ATTENDED),
        (Attending(), [(1, 4, 10, 8)] * 3, ATTENDED),
        # values of another width than keys: 7 questions to 10 places
        (Attending(), [(2, 4, 7, 8), (2, 4, 10, 8), (2, 4, 10, 5)], 2 * 4 * 7 * 10 * (8 + 5)),
        (nn.Bilinear(5, 6, 7), [(2, 5), (2, 6)], 2 * 7 * (5 * 6 + 6)),
        (Times(), [(5, 6), (6,)], 5 * 6),
    ],
    ids=["encoder layer", "encoder", "multihead", "function", "other widths", "bilinear", "vector"],
)
def test_what_torchs_counter_does_not_know(
    net: nn.Module, shapes: list[tuple[int, ...]], macs: int
) -> None:
    assert count.macs(net.eval(), *(torch.randn(shape) for shape in shapes)) == macs


@pytest.mark.parametrize("fused", [True, False])
def test_counting_leaves_fused_attention_as_it_was(fused: bool) -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fused)
    try:
        with pytest.raises((AssertionError, RuntimeError), match="embed"):
            count.macs(_encoder(), torch.randn(1, 10, 31))
        assert torch.backends.mha.get_fastpath_enabled() is fused
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
