"""Reward and fake pruning against values computed by hand."""

import pytest
import torch

from compress.enas.fake import FakePruning, kept, masked
from compress.enas.reinforce import Reinforce
from compress.enas.reward import Evaluation, mean
from models.enas import Place


@pytest.mark.parametrize(
    ("accuracy", "pruned", "ratio", "alpha", "beta", "expected"),
    [
        (0.8, 0.8, 8.0, 0.02, 20.0, 0.96),  # no gap: .02·8 + .8
        (0.8, 0.76, 8.0, 0.02, 20.0, 0.832),  # 1 + 20·(−.04) = .2: .02·8·.2 + .8
        (0.8, 0.75, 8.0, 0.02, 20.0, 0.8),  # a gap of five points cancels the bonus
        (0.8, 0.70, 8.0, 0.02, 20.0, 0.64),  # 1 + β·Gap = −1: Ratio is a burden
        (0.8, 0.70, 4.0, 0.02, 20.0, 0.72),  # and half the Ratio half the burden
        (0.8, 0.70, 8.0, 0.02, 0.0, 0.96),  # β = 0: the gap does not count
        (0.5, 0.60, 10.0, 0.5, 20.0, 15.5),  # pruning helped: 1 + 2 = 3
        (0.5, 0.1, 0.0, 0.5, 20.0, 0.5),  # nothing pruned: accuracy alone
    ],
)
def test_reward(
    accuracy: float, pruned: float, ratio: float, alpha: float, beta: float, expected: float
) -> None:
    assert Evaluation(accuracy, pruned, ratio).reward(alpha, beta) == pytest.approx(expected)


def test_the_mean_of_minibatches_is_of_accuracies() -> None:
    one, other = Evaluation(0.5, 0.3, 8.0), Evaluation(0.7, 0.7, 7.0)
    assert mean([one, other]) == Evaluation(0.6, 0.5, 7.5)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.0, (0, 1, 2, 3, 4)), (0.1, (0, 1, 2, 3, 4)), (0.4, (0, 2, 4)), (0.8, (2,)), (0.99, (2,))],
)
def test_the_smallest_sums_go_and_one_channel_stays(
    ratio: float, expected: tuple[int, ...]
) -> None:
    sums = torch.tensor([3.0, 1.0, 9.0, 0.5, 2.0])
    assert kept(sums, ratio) == expected


def test_a_map_is_ranked_by_its_absolute_sum_and_keeps_its_shape() -> None:
    x = torch.zeros(2, 3, 2, 2)
    x[:, 0] = -5.0  # large, negative
    x[0, 1, 0, 0] = 30.0  # one large value: the sum counts
    x[:, 2] = 6.0
    fake, place = FakePruning(), Place(0, 1, "left", "out")
    y = fake(place, 0.34, x)
    assert fake.kept == {place: (0, 2)}
    assert y.shape == x.shape
    assert torch.equal(y, masked(x, (0, 2)))
    assert torch.equal(y[:, [0, 2]], x[:, [0, 2]])
    assert not y[:, 1].any()


def test_the_baseline_moves_before_it_is_subtracted() -> None:
    learner = Reinforce(torch.nn.Linear(1, 1))
    assert learner.advantage(1.0, 0.0) == 0.0  # starts there
    assert learner.advantage(2.0, 0.0) == pytest.approx(2.0 - 1.01)
    assert learner.baseline == pytest.approx(1.01)
    assert learner.advantage(0.0, 10.0) == pytest.approx(0.99 * (0.001 - 1.01))  # 1e-4·entropy
