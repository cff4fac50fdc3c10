"""torch's layers are taken over with their function; what cannot be is refused by name."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from compress.rnn.adopt import adopt, projections, recurrent
from device.errors import FieldwrenError


class Cells(nn.Module):
    """Frame by frame with explicit state, as a streaming network is."""

    def __init__(self, kind: type[nn.LSTMCell] | type[nn.GRUCell]) -> None:
        super().__init__()
        self.cell = kind(5, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        state, answers = None, []
        for frame in x:
            state = self.cell(frame, state)
            answers.append(self.out(state[0] if isinstance(state, tuple) else state))
        return (torch.stack(answers), *(state if isinstance(state, tuple) else (state,)))


class Sequence(nn.Module):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], **options: object) -> None:
        super().__init__()
        self.rnn = kind(5, 8, num_layers=2, **options)  # type: ignore[arg-type]
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y, state = self.rnn(x)
        y, state = self.rnn(x, state)
        return (self.out(y), *(state if isinstance(state, tuple) else (state,)))


def inputs() -> Tensor:
    return torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "net",
    [
        lambda: Sequence(nn.LSTM),
        lambda: Sequence(nn.GRU),
        lambda: Sequence(nn.LSTM, batch_first=True),
        lambda: Sequence(nn.GRU, bias=False),
        lambda: Cells(nn.LSTMCell),
        lambda: Cells(nn.GRUCell),
    ],
)
def test_an_adopted_network_computes_the_same(net: object, training: bool) -> None:
    torch.manual_seed(0)
    made = net().double().train(training)  # type: ignore[operator]
    expected = made(inputs().double())
    adopt(made).double()
    for want, found in zip(expected, made(inputs().double()), strict=True):
        assert (want - found).abs().max() < 1e-12
    assert not [m for m in made.modules() if isinstance(m, nn.RNNBase | nn.RNNCellBase)]


class Holder(nn.Module):
    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn


@torch.no_grad()
@pytest.mark.parametrize(
    "rnn",
    [
        nn.LSTM(5, 3, num_layers=2),
        nn.LSTM(5, 3, batch_first=True),
        nn.GRU(5, 3),
        nn.LSTMCell(5, 3),
        nn.GRUCell(5, 3),
    ],
)
def test_one_sequence_without_a_batch_is_answered_as_torch_does(rnn: nn.Module) -> None:
    def answers(layer: nn.Module) -> list[Tensor]:
        x = inputs()[:, 0]
        if isinstance(rnn, nn.RNNCellBase):
            state = layer(x[1], layer(x[0]))
            return [*state] if isinstance(state, tuple) else [state]
        y, state = layer(x, layer(x)[1])
        return [y, *(state if isinstance(state, tuple) else (state,))]

    adopted = adopt(Holder(rnn)).rnn
    for want, found in zip(answers(rnn), answers(adopted.eval()), strict=True):
        torch.testing.assert_close(found, want)


class Twice(nn.Module):
    """One layer under two names, the second in a part of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.GRU(5, 5)
        self.second = Holder(self.first)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.second.rnn(self.first(x)[0])[0]
        return answer


@torch.no_grad()
def test_a_layer_with_two_names_stays_one_layer() -> None:
    torch.manual_seed(0)
    net = Twice().double()
    expected = net(inputs().double())
    adopt(net)
    assert net.first is net.second.rnn and list(recurrent(net)) == ["first.layers.0"]
    assert (net.eval()(inputs().double()) - expected).abs().max() < 1e-12


def test_a_packed_sequence_is_refused() -> None:
    adopted = adopt(Holder(nn.LSTM(5, 3))).rnn
    with pytest.raises(FieldwrenError, match="pad the batch"):
        adopted(pack_sequence([torch.ones(4, 5), torch.ones(2, 5)]))


def test_layers_and_matrices_have_names() -> None:
    net = adopt(Sequence(nn.LSTM))
    assert list(recurrent(net)) == ["rnn.layers.0", "rnn.layers.1"]
    assert "rnn.layers.1.h" in projections(net)
    lstm = nn.LSTM(5, 8, num_layers=2)
    theirs = sum(p.numel() for p in lstm.parameters()) + 8 * 3 + 3
    ours = sum(p.numel() for p in net.parameters())
    assert theirs - ours == 2 * 4 * 8  # torch keeps two biases where one does


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (Sequence(nn.LSTM, bidirectional=True), "rnn: bidirectional"),
        (Sequence(nn.LSTM, proj_size=4), "rnn: proj_size"),
        (nn.Sequential(nn.RNN(5, 8)), "0: RNN is neither"),
        (nn.LSTM(5, 8), "bare recurrent layer"),
    ],
)
def test_what_cannot_be_taken_over_is_refused_by_name(net: nn.Module, reason: str) -> None:
    with pytest.raises(FieldwrenError, match=reason):
        adopt(net)


def test_a_network_without_recurrence_is_refused() -> None:
    with pytest.raises(FieldwrenError, match="no LSTM or GRU"):
        recurrent(nn.Sequential(nn.Linear(2, 2)))
