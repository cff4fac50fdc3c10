"""Recurrent layers: torch's numbers, one function in both ways through, any form of the matrix."""

import pytest
import torch
from torch import Tensor, nn

from compress.rnn.adopt import fill
from models.projections import Map, Matrix, Projection, Table
from models.recurrent import GATES, Recurrent


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
