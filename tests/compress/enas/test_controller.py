"""The controller: what it samples, how likely, and that REINFORCE teaches it."""

import math

import pytest
import torch

from compress.enas.controller import FAVOUR, RATIOS, Controller, Draw, Samples, Uniform
from compress.enas.ratios import RatioController
from compress.enas.reinforce import Reinforce
from models.enas import OPERATIONS
from tests.compress.enas import children


def test_the_first_samples_favour_separable_convolutions_as_pinned() -> None:
    """tanh(10) = 1: .44 for separable, about 0 for others; ±.25 more in the normal cell."""
    torch.manual_seed(0)
    samples = Controller(2, "cells").sample(torch.Generator().manual_seed(0), 400)
    for plan, hold in ((0, 0.25), (1, 0.0)):
        edges = [edge for one in samples.choices for _, _, edge in one.plans[plan].edges]
        share = sum(edge.operation.startswith("sep") for edge in edges) / len(edges)
        odds = 2 * math.exp(0.44 + hold), 3 * math.exp(-hold)
        assert share == pytest.approx(odds[0] / sum(odds), abs=0.05)
    assert all(not any(one.ratios) for one in samples.choices)


def test_entropy_starts_near_its_largest_value() -> None:
    """Two cells of two nodes: 8 indices of 2 or 3, 8 operations of 5, 12 ratios of 9."""
    torch.manual_seed(0)
    entropy = Controller(2, "both").sample(torch.Generator().manual_seed(0), 20).entropy.detach()
    largest = 4 * math.log(2) + 4 * math.log(3) + 8 * math.log(5) + 12 * math.log(9)
    assert float(entropy.mean()) == pytest.approx(largest, abs=1.0)
    assert float(entropy.max()) < largest


def test_the_same_generator_draws_the_same() -> None:
    torch.manual_seed(0)
    controller = Controller(3, "both")
    one, other = (controller.sample(torch.Generator().manual_seed(7), 4) for _ in range(2))
    assert one.choices == other.choices
    assert torch.equal(one.log_prob, other.log_prob)
    assert len(set(one.choices)) == 4


def test_ratios_of_a_given_architecture_leave_its_cells_alone() -> None:
    given = children.drawn(1, 3, (0.0,))
    torch.manual_seed(0)
    for sampler in (Controller(3, "ratios", given), Uniform(3, "ratios", given)):
        samples = sampler.sample(torch.Generator().manual_seed(0), 5)
        assert {one.unpruned() for one in samples.choices} == {given}
        assert {ratio for one in samples.choices for ratio in one.ratios} <= set(RATIOS)
        assert len(set(samples.choices)) == 5
        most = 16 * math.log(len(RATIOS))  # only ratios are decisions
        assert float(samples.entropy.detach().max()) <= most + 1e-3


def test_uniform_draws_evenly() -> None:
    samples = Uniform(2, "both").sample(torch.Generator().manual_seed(0), 300)
    ratios = torch.tensor([one.ratios for one in samples.choices])
    assert float(ratios.mean()) == pytest.approx(0.4, abs=0.01)
    operations = [edge.operation for one in samples.choices for _, _, edge in one.normal.edges]
    assert operations.count("identity") / len(operations) == pytest.approx(0.2, abs=0.04)


def test_what_pays_becomes_likely() -> None:
    """Ratios of .8 pay: the mean of the last quarter is far above that of the first."""
    torch.manual_seed(0)
    controller, generator = RatioController(4), torch.Generator().manual_seed(0)
    learner = Reinforce(controller)
    means = []
    for _ in range(120):
        samples = controller.sample(generator, 10)
        rewards = [sum(choice) / 4 for choice in samples.choices]
        learner.update(samples, rewards)
        means.append(sum(rewards) / len(rewards))
    assert sum(means[-30:]) / 30 > sum(means[:30]) / 30 + 0.2
    assert float(samples.entropy.detach().mean()) < 0.8 * 4 * math.log(len(RATIOS))


def test_a_controller_of_cells_and_ratios_learns() -> None:
    """The mean ratio pays: from .45, a little above chance, to .77 of at most .8."""
    torch.manual_seed(0)
    controller, generator = Controller(2, "both"), torch.Generator().manual_seed(0)
    learner = Reinforce(controller)
    means = []
    for _ in range(150):
        samples = controller.sample(generator, 10)
        rewards = [sum(choice.ratios) / len(choice.ratios) for choice in samples.choices]
        learner.update(samples, rewards)
        means.append(sum(rewards) / len(rewards))
    quarter = len(means) // 4
    assert sum(means[:quarter]) / quarter < 0.5
    assert sum(means[-quarter:]) / quarter > 0.7


def test_picks_add_up_to_a_samples_probability_and_entropy() -> None:
    draw = Draw(200, torch.Generator().manual_seed(0))
    first = draw.pick(torch.tensor([[0.0, math.log(3)]]).expand(200, -1))  # 1/4, 3/4
    second = draw.pick(torch.zeros(200, 5))
    likely = torch.tensor([0.25, 0.75])[first] / 5
    assert torch.allclose(draw.log_prob, likely.log())
    assert set(second.tolist()) == set(range(5))
    own = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert torch.allclose(draw.entropy, torch.full((200,), own + math.log(5)))


def test_the_probability_of_an_architecture_is_that_of_its_decisions() -> None:
    """Without weights: states and ratios by an even chance, operations by their biases."""
    controller = Controller(1, "both")
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.zero_()
        controller.to_operation.bias.copy_(torch.tensor(FAVOUR))
    samples = controller.sample(torch.Generator().manual_seed(0), 20)
    entropy = 8 * math.log(9) + 4 * math.log(2)  # ratios of inputs and edges, states
    shares = []
    for hold in (0.25, 0.0):  # normal and reduction cell
        odds = [math.exp(0.44 + hold)] * 2 + [math.exp(-hold)] * 3
        shares.append([one / sum(odds) for one in odds])
        entropy -= 2 * sum(one * math.log(one) for one in shares[-1])
    for index, choice in enumerate(samples.choices):
        log_p = -8 * math.log(9) - 4 * math.log(2)
        for plan, share in zip(choice.plans, shares, strict=True):
            for _, _, edge in plan.edges:
                log_p += math.log(share[OPERATIONS.index(edge.operation)])
        assert float(samples.log_prob[index]) == pytest.approx(log_p, abs=1e-4)
        assert float(samples.entropy[index]) == pytest.approx(entropy, abs=1e-4)


def test_logits_are_the_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.10·tanh(vᵀ tanh(W₁ h_anchor + W₂ h)), 1.10/2.5·tanh(W h + b) ± .25, 2.5·tanh(W h)."""
    torch.manual_seed(0)
    net = Controller(2, "both")
    with torch.no_grad():  # far enough from zero for each tanh to bend
        for parameter in net.parameters():
            parameter.mul_(4)
    h: list[torch.Tensor] = []  # the LSTM's answer at every step
    net.lstm.register_forward_hook(lambda *call: h.append(call[2][0][0]))
    logits: list[torch.Tensor] = []
    pick = Draw.pick

    def seen(draw: Draw, values: torch.Tensor) -> torch.Tensor:
        logits.append(values[0])
        return pick(draw, values)

    monkeypatch.setattr(Draw, "pick", seen)
    with torch.no_grad():
        net.sample(torch.Generator().manual_seed(0), 1)
        hold = torch.tensor([0.25, 0.25, -0.25, -0.25, -0.25])

        def index(step: int, *anchors: int) -> torch.Tensor:
            w1, w2, v = net.anchored.weight, net.asking.weight, net.attention.weight[0]
            each = [v @ torch.tanh(w1 @ h[anchor] + w2 @ h[step]) for anchor in anchors]
            return 1.1 * torch.tanh(torch.stack(each))

        def operation(step: int) -> torch.Tensor:
            biased = net.to_operation.weight @ h[step] + net.to_operation.bias
            return 0.44 * torch.tanh(biased) + hold

        def ratio(step: int) -> torch.Tensor:
            return 2.5 * torch.tanh(net.to_ratio.weight @ h[step])

        expected = [ratio(0), ratio(1)]  # of the inputs, which anchor there, too
        expected += [index(2, 0, 1), index(3, 0, 1), operation(4), operation(5), ratio(6), ratio(7)]
        # step 8 is the anchor of the first node
        expected += [index(9, 0, 1, 8), index(10, 0, 1, 8), operation(11), operation(12)]
    for one, other in zip(logits, expected, strict=False):
        assert torch.allclose(one, other, atol=1e-5)
    assert len(logits) == 28


def test_an_update_is_a_step_of_adam_on_the_loss() -> None:
    """−mean((R − b)·log p) by hand; learning rate 3.5e-3, β₁ = 0, β₂ = .999, ε = 1e-3."""
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    learner = Reinforce(net)

    def update(*rewards: float) -> float:
        log_prob = net.weight[0, 0] * torch.tensor([1.0, 2.0])
        learner.update(Samples(("a", "b"), log_prob, torch.zeros(2)), rewards)
        return float(net.weight)

    # b = 1, then 1.01: advantages 0 and .99, gradient −(0·1 + .99·2) / 2
    first = 3.5e-3 * 0.99 / (0.99 + 1e-3)
    assert update(1.0, 2.0) == pytest.approx(first, rel=1e-4)
    # b = 1.0099, 1.009801: advantages −.0099, −.009801; without β₁ the last gradient is forgotten
    gradient = (0.0099 * 1 + 0.009801 * 2) / 2
    square = (0.999 * 0.001 * 0.99**2 + 0.001 * gradient**2) / (1 - 0.999**2)
    second = first - 3.5e-3 * gradient / (math.sqrt(square) + 1e-3)
    assert update(1.0, 1.0) == pytest.approx(second, rel=1e-4)
    assert abs(second - first) > 1e-2 * first
