"""Which draws a search goes back to, its curves and its time; a candidate's reward is its Ratio."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.enas import search as searching
from compress.enas.ratios import RatioController, UniformRatios
from compress.enas.reward import Evaluation
from compress.enas.search import Candidate, Found, Row, figures, search
from compress.steps import FakePrune

Ratios = tuple[float, ...]
STEP = FakePrune(
    kind="fake-prune", alpha=1.0, beta=0.0, controller_steps=2, samples=3, epochs=3, finalists=2
)
EPOCH = 6  # draws


class Priced:
    """No network: TrainAcc and PruneAcc are 0, Ratio is the sum of what was drawn."""

    minibatches = 2

    def __init__(self, fixed: bool, stop: int | None = None) -> None:
        self.fixed, self.stop = fixed, stop
        self.judged: list[Ratios] = []

    def train(self, epoch: int, draw: Callable[[int], Sequence[Ratios]]) -> None:
        if epoch == self.stop:
            raise KeyboardInterrupt

    def evaluate(self, candidates: Sequence[Candidate[Ratios]]) -> list[Evaluation]:
        self.judged += [one.choice for one in candidates]
        return [Evaluation(0.0, 0.0, sum(one.choice)) for one in candidates]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def searched(
    space: Priced, checkpoint: Path, sampler: type[UniformRatios | RatioController] = UniformRatios
) -> Found[Ratios]:
    torch.manual_seed(0)
    return search(
        space, sampler(8), STEP, epochs=STEP.epochs, seed=1, checkpoint=checkpoint / "search.pt"
    )


@pytest.mark.parametrize("sampler", [UniformRatios, RatioController])
def test_draws_of_all_epochs_count_where_nothing_is_trained(
    sampler: type[UniformRatios | RatioController], tmp_path: Path
) -> None:
    found = {}
    for fixed in (True, False):
        space = Priced(fixed)
        (tmp_path / str(fixed)).mkdir()
        found[fixed] = searched(space, tmp_path / str(fixed), sampler)
        drawn, judged = space.judged[: 3 * EPOCH], space.judged[3 * EPOCH :]
        counted = drawn if fixed else drawn[2 * EPOCH :]
        best = sorted(counted, key=sum, reverse=True)[:2]
        assert judged == [best[0], best[0], best[1], best[1]]  # each on both minibatches
        assert found[fixed].best == best[0]
        assert found[fixed].evaluations == 3 * EPOCH + 4
    assert sum(found[True].best) > sum(found[False].best), "the seed shows no difference"


def test_a_resumed_search_knows_earlier_draws_and_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 10))  # a call, ten seconds
    monkeypatch.setattr(searching, "perf_counter", lambda: float(next(clock)))
    (tmp_path / "whole").mkdir()
    whole = searched(Priced(fixed=True), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        searched(Priced(fixed=True, stop=2), tmp_path)
    resumed = Priced(fixed=True)
    found = searched(resumed, tmp_path)
    assert found == whole
    assert len(resumed.judged) == EPOCH + 4  # the last epoch and the finalists
    assert (whole.before, found.before) == (0.0, 20.0)  # started, after two epochs


def test_processes_go_on_from_the_same_epoch(tmp_path: Path) -> None:
    """The first may not write its next checkpoint before the other has read this one."""
    with pytest.raises(KeyboardInterrupt):
        searched(Priced(fixed=True, stop=1), tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "tests.compress.enas.shared_search", tmp_path],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one == other and one[0] == [1, 2]


def test_finalists_are_different_and_the_earlier_of_equals_comes_first() -> None:
    trials = [("a", 1.0), ("b", 3.0), ("c", 2.0), ("b", 2.5), ("d", 2.0), ("e", 0.0)]
    assert searching._finalists(trials, 3) == ["b", "c", "d"]
    assert searching._finalists(trials, 9) == ["b", "c", "d", "a", "e"]


def test_curves_are_means_over_twentieths() -> None:
    """43 steps of 10 samples: 21 parts of 2 steps, and the newest step."""
    rows = [
        Row(reward=n, ratio=2 * n, accuracy=0.5, pruned=0.5 - 0.01 * n, entropy=-n)
        for n in range(43)
    ]
    reward, ratio, gap, accuracy, entropy = figures(rows, 10, "search")
    (curve,) = reward.series
    # evaluations so far
    assert curve.x == (*(20.0 * (part + 1) for part in range(21)), 430.0)
    assert curve.y == (*(2 * part + 0.5 for part in range(21)), 42.0)
    assert ratio.series[0].y[:2] == (1.0, 5.0)
    assert gap.series[0].y[1] == pytest.approx(-0.025)
    assert [one.name for one in accuracy.series] == ["accuracy", "pruned"]
    assert entropy.series[0].y[0] == -0.5
    (few,) = figures(rows[:3], 10, "search")[0].series  # fewer than twenty: as they are
    assert (few.x, few.y) == ((10.0, 20.0, 30.0), (0.0, 1.0, 2.0))
