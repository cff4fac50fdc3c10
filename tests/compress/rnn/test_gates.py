"""Column strategies: eight of a layer, open at first, exact in the end, led by influence."""

import copy

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from compress.rnn.adopt import adopt, recurrent
from compress.rnn.gates import Strategies
from compress.steps import RnnGates
from device.errors import FieldwrenError
from models.projections import Matrix
from tests.compress.rnn import texts
from tests.compress.rnn.test_adopt import Sequence


def step(**changes: object) -> RnnGates:
    table = {"kind": "rnn-gates", "ratio": 0.5, "epochs": 1, "lr": 0.01, **changes}
    return RnnGates.model_validate(table)


def learn(net: nn.Module, strategies: Strategies) -> None:
    loss = net.train()(texts.words())[0].square().mean() + strategies.loss()
    net.zero_grad()
    loss.backward()
    strategies.step()


def test_eight_strategies_a_layer_and_six_of_a_gru() -> None:
    strategies = Strategies(texts.network(), step(), 10)
    sizes = {name: [gate.size for gate in own] for name, own in strategies.by_side.items()}
    assert sizes == {
        "layers.0.x": [12] * 4,
        "layers.0.h": [16] * 4,
        "layers.1.x": [16] * 4,
        "layers.1.h": [12] * 4,
    }
    gru = Strategies(adopt(Sequence(nn.GRU)), step(), 10)
    assert sum(len(own) for own in gru.by_side.values()) == 2 * 6


def test_inputs_and_units_have_a_steepness_of_their_own() -> None:
    net = texts.network()
    strategies = Strategies(net, step(beta_x=0.1, beta_h=0.4, beta_end=1.6), 2)
    x, h = strategies._halves()
    assert (float(x.beta), float(h.beta)) == (0.1, 0.4)
    learn(net, strategies)
    assert (float(x.beta), float(h.beta)) == pytest.approx((0.4, 0.8))
    learn(net, strategies)
    assert (float(x.beta), float(h.beta)) == pytest.approx((1.6, 1.6))


@pytest.mark.parametrize("name", ["beta_x", "beta_h"])
def test_gates_do_not_flatten_while_they_learn(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} is above beta_end"):
        step(**{name: 10.0, "beta_end": 4.0})
    step(**{name: 4.0, "beta_end": 4.0})
    step(**{name: 10.0, "beta_end": 4.0, "beta": "automatic"})  # which asks for no beta_end


def test_the_network_and_the_strategies_share_no_parameters() -> None:
    net = texts.network()
    strategies = Strategies(net, step(), 10)
    own = {id(parameter) for parameter in strategies.parameters()}
    assert not own & {id(parameter) for parameter in net.parameters()}


def test_influence_is_that_of_the_columns() -> None:
    net = texts.network().train()
    strategies = Strategies(net, step(), 10)
    gate = strategies.by_side["layers.0.h"][2]
    loss = net(texts.words())[0].square().mean() + strategies.loss()
    loss.backward()
    weight = recurrent(net)["layers.0"].h.parts[0].factors[0]
    product = (weight.grad * weight).detach()[2 * 16 : 3 * 16].abs().sum(0)
    strategies.step()
    expected = 0.98 + 0.02 * product / product.mean()
    assert torch.allclose(gate.influence, expected, atol=1e-6)


@torch.no_grad()
def test_gates_start_open_and_what_is_taken_is_what_was_computed() -> None:
    net, words = texts.network(), texts.words()
    before, _ = net(words)
    strategies = Strategies(net, step(ratio=0.4), 10)
    gated, _ = net(words)
    assert 0 < (before - gated).abs().max() < 0.2 * before.abs().max()
    folded = copy.deepcopy(net)  # keeps the gates
    for own in strategies.by_side.values():
        for gate in own:
            gate.mean.copy_(torch.rand(gate.size))
            gate.head.bias[gate.mean < gate.mean.sort().values[gate.size - gate.kept]] = -200.0
    shut, _ = folded(words)
    read = strategies.take()
    assert (net(words)[0] - shut).abs().max() < 1e-5
    assert [len(own) for own in read["layers.0.x"]] == [7] * 4  # of 12
    assert [len(own) for own in read["layers.1.x"]] == [10] * 4  # of 16
    for layer in recurrent(net).values():
        for side in (layer.x, layer.h):
            assert side.gate is None


def test_gates_let_go_of_inputs_that_mean_nothing() -> None:
    """Eight inputs, four of them noise: the strategies of W_x shut more noise than signal."""
    torch.manual_seed(0)
    net = adopt(_Sum())
    strategies = Strategies(net, step(window=10, beta_end=20.0, gate_lr=0.1), 150)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(150):
        x = torch.randn(6, 32, 8)
        loss = F.mse_loss(net.train()(x), x[:, :, :4].sum((0, 2))[:, None]) + strategies.loss()
        optimizer.zero_grad()
        loss.backward()
        strategies.step()
        optimizer.step()
    read = strategies.take()["rnn.layers.0.x"]
    signal = [sum(column < 4 for column in own.tolist()) for own in read]
    assert all(len(own) == 4 for own in read)
    assert sum(signal) >= 13  # of 16 choices; 8 by chance


class _Sum(nn.Module):
    """The answer is the sum over time of the first four inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(8, 12), nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.rnn(x)[0][-1])
        return y


def test_columns_are_learned_before_matrices_are_factorised_and_once() -> None:
    net = texts.network()
    recurrent(net)["layers.1"].h.store([Matrix(12, [torch.ones(48, 2), torch.ones(2, 12)])])
    with pytest.raises(FieldwrenError, match=r"layers\.1: choose columns before"):
        Strategies(net, step(), 10)
    Strategies(net, step(keep=["layers.1"]), 10)
    recurrent(net)["layers.0"].x.store([texts.gathered(16, 12, [0, 1], seed=g) for g in range(4)])
    with pytest.raises(FieldwrenError, match="learned once"):
        Strategies(net, step(keep=["layers.1"]), 10)
    with pytest.raises(FieldwrenError, match="keep leaves no"):
        Strategies(texts.network(), step(keep=["layers.*"]), 10)
