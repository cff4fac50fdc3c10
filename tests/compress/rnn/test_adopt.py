"""torch's layers are taken over with their function; what cannot be is refused by name."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from compress import count
from compress.rnn import structure, units, wires
from compress.rnn.adopt import adopt, projections, recurrent
from compress.rnn.factorise import Factorisation
from device.errors import FieldwrenError
from models.recurrent import GATES


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


@torch.no_grad()
def test_a_network_at_rest_stays_at_rest() -> None:
    class Cell(Cells):
        def __init__(self) -> None:
            super().__init__(nn.GRUCell)

    net = adopt(Sequence(nn.LSTM, dropout=0.5).eval())
    assert not [name for name, module in net.named_modules() if module.training]
    assert torch.equal(net(inputs())[0], net(inputs())[0])
    assert not [name for name, module in adopt(Cell().eval()).named_modules() if module.training]
    assert all(module.training for module in adopt(Sequence(nn.LSTM)).modules())


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_what_did_not_learn_does_not_learn(kind: type[nn.LSTM] | type[nn.GRU]) -> None:
    """Through units that go, other forms, and what is rebuilt from its record."""
    net = Sequence(kind)
    net.requires_grad_(False)
    adopt(net)
    found = wires.readers(net, inputs())
    units.remove(net, found, {name: torch.tensor([2]) for name in found})
    work = Factorisation(net)
    work.apply(work.within(int(0.8 * count.parameters(net))))
    fresh = Sequence(kind).requires_grad_(False)
    for made in (net, structure.rebuild(fresh, structure.describe(net))):
        assert not [name for name, values in made.named_parameters() if values.requires_grad]
    half = Sequence(kind)
    half.rnn.weight_hh_l1.requires_grad_(False)
    held = [name for name, values in adopt(half).named_parameters() if not values.requires_grad]
    assert held == ["rnn.layers.1.h.matrices.0.factors.0"]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_what_has_no_bias_gets_none(kind: type[nn.LSTM] | type[nn.GRU]) -> None:
    net = Sequence(kind, bias=False)
    held, gates = count.parameters(net), GATES[kind.__name__.lower()]
    assert count.parameters(adopt(net)) == held
    found = wires.readers(net, inputs())
    units.remove(net, found, {name: torch.tensor([2]) for name in found})
    rebuilt = structure.rebuild(Sequence(kind, bias=False), structure.describe(net))
    for made in (net, rebuilt):
        assert count.parameters(made) == gates * 7 * (5 + 3 * 7) + 7 * 3 + 3
    rebuilt.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(inputs())[0], net.eval()(inputs())[0])


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
