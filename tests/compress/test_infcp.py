"""Inf-CP: λ and loss by hand, gates that start open and shut what is useless, exact budgets."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress import allocation, infcp, prune
from compress.gate import STEEPEST, pressure, settled
from compress.stages import infcp as stage
from device.errors import FieldwrenError
from models.tcn import TCN
from tests.compress import channel_gates, graphs, patterns


@pytest.mark.parametrize(
    ("target", "channels", "shut", "expected"),
    [
        (4, 10, 0, 3.0),  # 5·|.4 + 0 − 1|
        (4, 10, 3, 1.5),
        (4, 10, 6, 0.0),  # exactly as many are left as shall stay
        (4, 10, 7, 0.0),  # more are shut than asked: no pressure
        (10, 10, 0, 0.0),
        (10, 10, 1, 0.0),
        (1, 10, 10, 0.0),
    ],
)
def test_pressure_by_hand(target: int, channels: int, shut: int, expected: float) -> None:
    assert pressure(target, channels, shut, 5.0) == pytest.approx(expected)
    assert pressure(target, channels, shut, 100.0) == pytest.approx(20 * expected)


def test_the_loss_by_hand() -> None:
    gates = channel_gates.gates(graphs.make("chain"), channel_gates.step(ratio=0.75))
    expected = 0.0
    for gate in gates.gates:
        C, T = gate.cut.channels, gate.cut.kept
        bias = torch.linspace(-2, 2, C)
        with torch.no_grad():
            gate.head.bias.copy_(bias)
        E = [1 / (1 + math.exp(-float(b))) for b in bias]
        expected += 5 * abs(T / C - 1) * (sum(E) / C - T / C) ** 2
    assert float(gates.loss().detach()) == pytest.approx(expected, rel=1e-5)


def test_settled_counts_only_gates_there_is_room_for() -> None:
    values = torch.tensor([0.0, 0.01, 0.04, 0.3, 0.96, 1.0])
    assert settled(values, 3) == 3 + 2
    assert settled(values, 1) == 3 + 1
    assert settled(values, 5) == 1 + 2


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_gates_start_open_and_leave_the_network_alone(name: str) -> None:
    net = graphs.make(name)
    with torch.no_grad():
        before = net(channel_gates.picture(1))
    gates = channel_gates.gates(net, channel_gates.step())
    with torch.no_grad():
        after = net(channel_gates.picture(1))
    assert all(bool((value > 0.9).all()) for value in gates.values())
    assert 0 < float((before - after).abs().max()) < 0.2 * float(before.abs().max())


def test_influence_is_the_moving_average_of_w_times_its_gradient() -> None:
    net = graphs.make("residual").train()
    gates = channel_gates.gates(net, channel_gates.step())
    gate = next(gate for gate in gates.gates if len(gate.cut.members) > 1)
    expected = torch.ones(gate.cut.channels)
    for seed in range(3):
        net.zero_grad()
        (net(channel_gates.picture(seed)).square().sum() + gates.loss()).backward()
        layers = [net.get_submodule(name) for name in gate.cut.members]
        shares = []
        for layer in layers:
            assert isinstance(layer.weight, Tensor) and layer.weight.grad is not None
            product = (-layer.weight * layer.weight.grad).detach().abs()
            own = torch.stack([product[c].sum() for c in range(len(product))])
            shares.append(own / own.mean())
        expected = 0.98 * expected + 0.02 * torch.stack(shares).mean(0)
        gates.step()
        assert torch.allclose(gate.influence, expected, rtol=1e-4)


@pytest.mark.parametrize("make", [*graphs.GRAPHS.values(), *patterns.SMALL.values()])
def test_folding_and_masking_and_removing_agree(make: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    net = patterns.shaken(make(16) if make in patterns.SMALL.values() else make())
    gates = channel_gates.gates(net, channel_gates.step())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for gate in gates.gates:
            gate.head.bias.normal_(0.0, 2.0, generator=generator)
            gate.mean.copy_(torch.arange(gate.size) % 7)  # empties no portion of a split
        gated = net(channel_gates.picture(1))
        plan = gates.plan()
        gates.fold()
        folded = net(channel_gates.picture(1))
    assert torch.allclose(gated, folded, atol=1e-5)
    assert prune.difference(net, channel_gates.picture(1), plan) < 1e-10
    masked = prune.mask(copy.deepcopy(net), channel_gates.picture(), plan)
    removed = prune.remove(net, channel_gates.picture(), plan)
    with torch.no_grad():
        assert torch.allclose(
            masked(channel_gates.picture(1)), removed(channel_gates.picture(1)), atol=1e-5, rtol=0
        )


def _twins() -> list[nn.Module]:
    """Two layers with one weight, into which a gate would be multiplied twice."""
    one, other = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)
    other.weight = one.weight
    return [one, other]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16, affine=False)],
            r'^layers\.1 has no weights .*: keep = \["layers\.0"\]',
        ),
        (
            [nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 16, 3))],
            r'^layers\.0: .* computes its weight from others.*; keep = \["layers\.0"\]',
        ),
        (
            [nn.Conv2d(3, 16, 3), *_twins()],
            r"^layers\.0: .*layers\.1\.weight and layers\.2\.weight are one tensor",
        ),
    ],
)
def test_a_layer_that_no_gate_can_be_multiplied_into_is_refused(
    layers: list[nn.Module], message: str
) -> None:
    net = graphs.Sequence(*layers, nn.ReLU(), features=16).eval()
    cut = prune.Cut(layer="layers.0", channels=16, removed=tuple(range(8)), members=("layers.0",))
    with pytest.raises(FieldwrenError, match=message):
        infcp.Gates(net, channel_gates.picture(), prune.Plan(cuts=(cut,)), channel_gates.step(), 10)


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_the_budget_is_met_exactly_whatever_the_gates_say(name: str) -> None:
    gates = channel_gates.gates(graphs.make(name), channel_gates.step(ratio=0.4))
    for fill in (0.0, 1.0, 0.5):  # all shut, all open, undecided
        for gate in gates.gates:
            gate.mean.fill_(fill)
        for gate, cut in zip(gates.gates, gates.plan().cuts, strict=True):
            assert cut.kept == gate.cut.kept == round(0.6 * cut.channels)
    for gate in gates.gates:
        gate.mean.copy_(torch.arange(gate.cut.channels))
        cut = gate.chosen()
        assert cut.removed == tuple(range(cut.channels - cut.kept))


def _useless(net: nn.Sequential, seed: int) -> set[int]:
    """Half of the hidden channels never reach the answer: planted, and kept so."""
    last = net[-1]
    assert isinstance(last, nn.Linear)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(seed))
    useless = torch.zeros(16, dtype=torch.bool)
    useless[order[:8]] = True
    with torch.no_grad():
        last.weight[:, useless] = 0
    last.weight.register_hook(lambda gradient: gradient * ~useless)
    return set(order[:8].tolist())


@pytest.mark.parametrize("beta", ["geometric", "automatic"])
def test_planted_useless_channels_shut_and_useful_ones_stay(beta: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    useless = _useless(net, 0)
    generator = torch.Generator().manual_seed(1)
    linear = torch.randn(12, 4, generator=generator)

    def batch() -> tuple[Tensor, Tensor]:
        x = torch.randn(64, 12, generator=generator)
        return x, (torch.tanh(x @ linear) + 0.7 * x[:, :4] * x[:, 4:8]).argmax(1)

    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

    def learn(steps: int, gates: infcp.Gates | None) -> None:
        net.train()
        for _ in range(steps):
            x, y = batch()
            loss = F.cross_entropy(net(x), y)
            if gates is not None:
                loss = loss + gates.loss()
            optimizer.zero_grad()
            loss.backward()
            if gates is not None:
                gates.step()
            optimizer.step()
        net.eval()

    learn(300, None)
    step = channel_gates.step(beta=beta)
    budget = allocation.make_plan(net, batch()[0], [net[-1]], stage.counts(step), 0)
    gates = infcp.Gates(net, batch()[0], budget, step, 400)
    assert float(gates.values()[0].detach().min()) > 0.9
    learn(400, gates)
    values = gates.values()[0].detach()
    useful = [channel for channel in range(16) if channel not in useless]
    assert float(values[sorted(useless)].max()) < 0.05
    assert float(values[useful].min()) > 0.5
    assert set(gates.plan().cuts[0].removed) == useless
    if beta == "geometric":
        assert float(gates.beta) == pytest.approx(4.0)
    else:
        assert float(gates.beta) > step.beta_start


def test_automatic_steepness_waits_while_gates_keep_to_the_line() -> None:
    net = graphs.make("chain").train()
    gates = channel_gates.gates(net, channel_gates.step(beta="automatic", window=1), total=100)
    values = torch.linspace(0.3, 0.7, 64)
    for progress, fill, grows in ((0, values, True), (1, values.round(), False)):
        before = float(gates.beta)
        gates.progress.fill_(progress)
        for gate in gates.gates:  # undecided, then decided as the budget asks
            n = gate.cut.channels
            gate.mean.copy_(fill[:: 64 // n][:n] if grows else (torch.arange(n) < gate.cut.kept))
        gates.progress += 1
        gates._steepen()
        assert (float(gates.beta) > before) == grows


@pytest.mark.parametrize(("total", "end"), [(60, 4.0), (224, 4.0), (2000, STEEPEST)])
def test_automatic_steepness_that_is_always_behind_comes_to_four(total: int, end: float) -> None:
    gates = channel_gates.gates(graphs.make("chain"), channel_gates.step(beta="automatic"), total)
    for gate in gates.gates:
        gate.mean.fill_(0.5)
    for progress in range(1, total + 1):
        gates.progress.fill_(progress)
        with torch.no_grad():
            gates._steepen()
    assert float(gates.beta) == pytest.approx(end)


def test_every_portion_of_a_split_keeps_a_channel() -> None:
    net, step = patterns.shaken(patterns.SMALL["split by sizes"](16)), channel_gates.step()
    gates = channel_gates.gates(net, step)
    for gate in gates.gates:
        gate.mean.copy_(torch.arange(gate.size))  # the first portion's were open least
    plan = gates.plan()
    assert any(gate.portions for gate in gates.gates)
    for gate, cut in zip(gates.gates, plan.cuts, strict=True):
        assert cut.kept == gate.kept
        assert not any(portion <= set(cut.removed) for portion in gate.portions)
    gates.fold()
    prune.proven(net, channel_gates.picture(), plan)


def test_gates_serve_the_temporal_network_too() -> None:
    """Residual sums of layers without a norm, depthwise taps over time."""
    torch.manual_seed(0)
    net = TCN(inputs=9, outputs=9, residual=8, hidden=12, dilations=(1, 2)).eval()
    x = torch.rand(2, 9, 20)
    step = channel_gates.step()
    budget = allocation.make_plan(net, x, [net.leave], stage.counts(step), 0)
    gates = infcp.Gates(net, x, budget, step, 10)
    assert sorted(gate.cut.channels for gate in gates.gates) == [8, 12, 12]
    with torch.no_grad():
        for gate in gates.gates:
            gate.head.bias.copy_(torch.linspace(-3, 3, gate.cut.channels))
            gate.mean.copy_(gate.value(1.0))
        gated = net(x)
        plan = gates.plan()
        gates.fold()
        assert torch.allclose(net(x), gated, atol=1e-6)
    assert prune.difference(net, x, plan) < 1e-10
    assert all(cut.removed == tuple(range(cut.channels // 2)) for cut in plan.cuts)
