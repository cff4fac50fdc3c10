"""Recurrent layers: torch's numbers, one function in both ways through, any form of the matrix."""

import pytest
import torch
from torch import Tensor, nn

from compress.rnn.adopt import fill
from device.errors import FieldwrenError
from models.projections import Map, Matrix, Projection, Table
from models.recurrent import GATES, Cell, Recurrent, Stack


def layer(kind: str, inputs: int = 5, units: int = 8, seed: int = 0) -> Recurrent:
    torch.manual_seed(seed)
    made = Recurrent(kind, inputs, units)  # type: ignore[arg-type]
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made.double()


def sequence(inputs: int = 5) -> Tensor:
    return torch.randn(7, 3, inputs, generator=torch.Generator().manual_seed(9)).double()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_layer_computes_what_torchs_does(kind: str) -> None:
    torch.manual_seed(1)
    theirs = (nn.LSTM if kind == "lstm" else nn.GRU)(5, 8).double()
    ours = layer(kind)
    weights = [parameter.detach().clone() for parameter in theirs.parameters()]
    fill(ours, *weights)
    x = sequence()
    expected, end = theirs(x)
    for training in (True, False):
        y, state = ours.train(training)(x)
        assert (y - expected).abs().max() < 1e-12
        for mine, their in zip(state, end if isinstance(end, tuple) else (end,), strict=True):
            assert (mine - their[0]).abs().max() < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_stored_forms_multiply_out_to_what_they_compute(kind: str) -> None:
    """The fused way takes dense(), the other one the factors and the gather."""
    net, gates = layer(kind), GATES[kind]
    torch.manual_seed(3)
    columns = torch.tensor([0, 2, 3])
    parts = [Matrix(5, [torch.randn(8, 3)], columns) for _ in range(gates - 1)]
    net.x.store([*parts, Matrix(5, [torch.randn(8, 2), torch.randn(2, 3)], columns)])
    net.h.store([Matrix(8, [torch.randn(8 * gates, 3), torch.randn(3, 8)])])
    net.double()
    x = sequence()
    fused, _ = net.train()(x)
    stepped, _ = net.eval()(x)
    assert (fused - stepped).abs().max() < 1e-12
    x[..., [1, 4]] += 1  # inputs that no gate reads
    assert torch.equal(net(x)[0], stepped)


def test_carrying_the_state_is_one_long_sequence() -> None:
    net, x = layer("gru").eval(), sequence()
    whole, _ = net(x)
    first, state = net(x[:4])
    second, _ = net(x[4:], state)
    assert torch.equal(torch.cat((first, second)), whole)


@torch.no_grad()
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize(
    ("sequence_shape", "state_shape", "reason"),
    [
        ((7, 3, 9), (3, 8), r"\[time, batch, 5\], this one is \[7, 3, 9\]"),
        ((7, 3, 1, 5), (3, 8), r"this one is \[7, 3, 1, 5\]"),
        ((7, 5), (3, 8), r"this one is \[7, 5\]"),
        ((7, 5, 5), (1, 8), r"of \[5, 8\], this one is \[1, 8\]"),
        ((7, 3, 5), (3, 9), r"of \[3, 8\], this one is \[3, 9\]"),
        ((7, 3, 5), (1, 3, 8), r"this one is \[1, 3, 8\]"),
    ],
)
def test_what_does_not_fit_a_layer_is_refused(
    kind: str,
    training: bool,
    sequence_shape: tuple[int, ...],
    state_shape: tuple[int, ...],
    reason: str,
) -> None:
    """torch's kernel, called as it is here, would read and write behind the end of a tensor."""
    net = layer(kind).float().train(training)
    state = (torch.zeros(state_shape),) * (2 if kind == "lstm" else 1)
    with pytest.raises(FieldwrenError, match=f"{kind.upper()} layer: .*{reason}"):
        net(torch.zeros(sequence_shape), state)


def test_a_state_without_its_cell_is_refused() -> None:
    with pytest.raises(FieldwrenError, match=r"its state is 2 of \[3, 8\], this one is \[3, 8\]"):
        layer("lstm")(sequence(), (torch.zeros(3, 8).double(),))


def stack(*units: int) -> Stack:
    return Stack([layer("gru", 5, units[0]), layer("gru", *units)], 0.0, batch_first=False)


@torch.no_grad()
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(3, 3, 8), (1, 3, 8), (2, 1, 8), (2, 3, 9), (2, 3, 6), (2, 8)])
def test_what_does_not_fit_all_layers_is_refused(shape: tuple[int, ...], training: bool) -> None:
    net = stack(8, 6).train(training)
    assert net(sequence(), torch.zeros(2, 3, 8).double())[1].shape == (2, 3, 8)
    with pytest.raises(
        FieldwrenError, match=r"its states are \[2, 3, 8\], this one is .*hidden_siz"
    ):
        net(sequence(), torch.zeros(shape).double())


def test_a_cell_refuses_the_states_of_another_batch() -> None:
    with pytest.raises(FieldwrenError, match=r"of \[3, 8\], this one is \[1, 8\]"):
        Cell(layer("gru"))(sequence()[0], torch.zeros(1, 8).double())


@torch.no_grad()
def test_stack_and_cell_are_called_and_asked_as_torchs_layers_are() -> None:
    net, cell, x = stack(8, 6).eval(), Cell(layer("lstm")).eval(), sequence()
    assert (net.input_size, net.hidden_size, net.num_layers) == (5, 8, 2)
    assert (net.batch_first, net.bidirectional, net.proj_size) == (False, False, 0)
    net.flatten_parameters()
    start = torch.zeros(net.num_layers, 3, net.hidden_size).double()
    assert torch.equal(net(input=x, hx=start)[0], net(x)[0])
    assert (cell.input_size, cell.hidden_size) == (5, 8)
    zeros = torch.zeros(3, cell.hidden_size).double()
    assert torch.equal(cell(input=x[0], hx=(zeros, zeros))[0], cell(x[0])[0])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_layer_without_a_bias_has_none_to_learn(kind: str) -> None:
    net = Recurrent(kind, 5, 8, bias=False)  # type: ignore[arg-type]
    assert sum(p.numel() for p in net.parameters()) == GATES[kind] * 8 * (5 + 8)
    with_zeros = Recurrent(kind, 5, 8)  # type: ignore[arg-type]
    with_zeros.load_state_dict(net.state_dict())  # the same names
    x = sequence().float()
    for training in (True, False):
        assert torch.equal(net.train(training)(x)[0], with_zeros.train(training)(x)[0])


def test_weights_of_the_recurrence_are_dropped_in_training_only() -> None:
    net = Recurrent("lstm", 5, 8, weight_drop=0.5)
    x = sequence().float()
    assert torch.equal(net.eval()(x)[0], net(x)[0])
    net.train()
    assert not torch.equal(net(x)[0], net(x)[0])
    torch.manual_seed(0)
    assert torch.equal(net(x)[0][0], net(x)[0][0])  # the first step has no recurrence


def test_gradients_reach_every_factor_through_the_fused_kernel() -> None:
    net = layer("lstm")
    net.h.store([Matrix(8, [torch.randn(32, 3), torch.randn(3, 8)])])
    net.double().train()(sequence())[0].square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_a_gate_multiplies_the_weights_in_both_ways() -> None:
    net, x = layer("lstm"), sequence()
    shut = torch.ones(4, 1, 5).double()
    shut[:, :, 2] = 0
    net.x.gate = lambda: shut
    fused, _ = net.train()(x)
    stepped, _ = net.eval()(x)
    assert (fused - stepped).abs().max() < 1e-12
    x[..., 2] += 1
    assert torch.equal(net(x)[0], stepped)


@torch.no_grad()
def test_a_tied_table_in_two_factors_is_the_same_both_ways() -> None:
    table = Table(11, 6)
    left, right = torch.randn(11, 3), torch.randn(3, 6)
    table.x.store([Matrix(6, [left, right])])
    tokens = torch.tensor([[0, 10], [4, 4]])
    assert (table(tokens) - (left @ right)[tokens]).abs().max() < 1e-6
    vector = torch.randn(2, 6)
    assert (table.scores(vector) - vector @ (left @ right).T).abs().max() < 1e-5
    assert sum(p.numel() for p in table.parameters()) == 11 * 3 + 3 * 6 + 11


def test_a_map_is_a_linear_layer() -> None:
    made, linear = Map(4, 3), nn.Linear(4, 3)
    made.x.store([Matrix(4, [linear.weight.detach().clone()])])
    assert made.bias is not None
    made.bias = linear.bias
    x = torch.randn(2, 4)
    assert torch.allclose(made(x), linear(x))
    assert isinstance(made.x, Projection)
    assert made.x.rows == 3
