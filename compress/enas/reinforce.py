"""REINFORCE: what paid more than usual becomes more likely.

R. Williams, "Simple statistical gradient-following algorithms", 1992, as ENAS uses it [F]:

    R ← R + 1e-4·entropy             of the sample's decisions
    b ← b − (1 − .99)·(b − R)        the baseline moves before it is subtracted
    loss = mean over a step's samples of  −(R − b)·log p(sample)
    Adam, learning rate 3.5e-3, β₁ = 0, ε = 1e-3

The entropy is part of the reward, as in ENAS's code, so it has no gradient of its own. b starts
at the first reward [C]: from zero it would take hundreds of samples, all of them "better than
usual", to arrive.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from compress.enas.controller import Samples

ENTROPY = 1e-4
DECAY = 0.99
LR, BETAS, EPSILON = 3.5e-3, (0.0, 0.999), 1e-3


class Reinforce:
    """The update of one controller."""

    def __init__(self, controller: nn.Module) -> None:
        self.optimizer = torch.optim.Adam(controller.parameters(), lr=LR, betas=BETAS, eps=EPSILON)
        self.baseline: float | None = None

    def update(self, samples: Samples[Any], rewards: Sequence[float]) -> None:
        """One step on some samples of the controller and their rewards."""
        entropies = samples.entropy.tolist()
        advantages = [self.advantage(*pair) for pair in zip(rewards, entropies, strict=True)]
        loss = -(torch.tensor(advantages) * samples.log_prob).mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def advantage(self, reward: float, entropy: float) -> float:
        """R − b, after b has moved."""
        total = reward + ENTROPY * entropy
        if self.baseline is None:
            self.baseline = total
        self.baseline -= (1 - DECAY) * (self.baseline - total)
        return total - self.baseline

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"optimizer": self.optimizer.state_dict(), "baseline": self.baseline}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.baseline = state["baseline"]
