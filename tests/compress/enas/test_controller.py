"""The controller: what it samples, how likely, and that REINFORCE teaches it."""

import math

import pytest
import torch

from compress.enas.controller import RATIOS, Controller, Uniform
from compress.enas.ratios import RatioController
from compress.enas.reinforce import Reinforce
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
