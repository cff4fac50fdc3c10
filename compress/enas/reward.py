"""What the controller is rewarded for.

    Ratio  = Σ_l ratio(l)                                                                   [S]
    Gap    = PruneAcc(X) − TrainAcc(X)                                                      [S]
    Reward = α·Ratio·(1 + β·Gap) + TrainAcc(X)                                              [S]

X         one validation minibatch, run twice through the same weights
TrainAcc  accuracy of the path as it is, PruneAcc with its channels faked away; fractions of 1 [C]
ratio(l)  share of channels pruned of edge l; or what cost.py puts in its place
α, β      how much compression counts, and how much the loss by pruning takes from that

With β = 20 a gap of −.05 cancels the bonus; beyond it the bonus is negative and Ratio is a
burden: 1 + β·Gap is not clamped [C], so the controller still sees how far off a candidate is.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluation:
    """What one minibatch told of a candidate."""

    accuracy: float  # TrainAcc
    pruned: float  # PruneAcc
    ratio: float  # Ratio

    @property
    def gap(self) -> float:
        """PruneAcc − TrainAcc, rarely above zero."""
        return self.pruned - self.accuracy

    def reward(self, alpha: float, beta: float) -> float:
        """α·Ratio·(1 + β·Gap) + TrainAcc."""
        return alpha * self.ratio * (1 + beta * self.gap) + self.accuracy


def mean(evaluations: list[Evaluation]) -> Evaluation:
    """Of several minibatches of one candidate."""
    count = len(evaluations)
    return Evaluation(
        accuracy=sum(one.accuracy for one in evaluations) / count,
        pruned=sum(one.pruned for one in evaluations) / count,
        ratio=sum(one.ratio for one in evaluations) / count,
    )
