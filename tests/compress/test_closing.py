"""Gates that are closed before the end: decided early, at rest in the end, resumed in between."""

import pytest
import torch

from compress import prune
from tests.compress import channel_gates, graphs


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_closing_decides_early_and_ends_where_removal_does(name: str) -> None:
    """Ten steps, windows of two, the last .6: decided after four, shut after seven."""
    torch.manual_seed(0)
    net = graphs.make(name).train()
    gates = channel_gates.gates(net, channel_gates.step(window=2, closing=0.6, factor=100.0))
    closed, plans, pressed = [], [], []
    for step in range(10):
        net.zero_grad()
        (net(channel_gates.picture(step)).square().sum() + gates.loss()).backward()
        gates.step()
        closed.append({round(float(gate.closed), 4) for gate in gates.gates})
        plans.append(gates.plan())
        pressed.append(any(float(gate.weight) for gate in gates.gates))
    assert closed == [{x} for x in (0, 0, 0, 0, 0.3333, 0.6667, 1, 1, 1, 1)]
    assert all(set(value.tolist()) == {0.0, 1.0} for value in gates.values())
    assert all(plan == plans[3] for plan in plans[4:])
    assert pressed == [True] * 3 + [False] * 7  # what is decided is not pushed for
    gated = net.eval()(channel_gates.picture(99))
    gates.fold()
    removed = prune.remove(net, channel_gates.picture(), plans[-1])
    assert torch.allclose(gated, removed(channel_gates.picture(99)), atol=1e-5)


def test_what_goes_is_decided_by_a_whole_window() -> None:
    gates = channel_gates.gates(graphs.make("chain"), channel_gates.step(window=4, closing=0.9))
    assert gates.decided == 4  # not after one of ten steps
    assert (
        channel_gates.gates(
            graphs.make("chain"), channel_gates.step(window=50, closing=0.5)
        ).decided
        == 10
    )


def test_a_resumed_training_goes_on_closing() -> None:
    first, second = (
        channel_gates.gates(graphs.make("chain"), channel_gates.step(window=2, closing=0.9))
        for _ in range(2)
    )
    for gate in first.gates:
        gate.mean.copy_(torch.arange(gate.size).flip(0))
        gate.shut(0.25)
    second.load_state_dict(first.state_dict())
    assert second.plan() == first.plan()
    for own, other in zip(first.values(), second.values(), strict=True):
        assert torch.equal(own, other)
