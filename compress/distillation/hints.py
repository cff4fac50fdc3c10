"""FitNets: inner layers learn to predict the teacher's inner layers.

A. Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, equation 3.

    Loss = task's loss + γ·Σ_pairs mean( (r(s) − t)² )

s  output of a guided layer of the student      [batch, channels, …]; features are channels
t  output of the hint layer of the teacher      averaged to the student's size where sizes differ
r  regressor, a 1 × 1 convolution (a matrix where there is no space): the channels are not the same

The paper trains the hints first and the answers afterwards; here both are learned together [C]. The
regressors belong to the training and are thrown away with it. They start from random numbers of
their own: those at hand depend on which stages were taken up from an earlier run.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.distillation.taps import Taps, like, seen

SEED = 0  # of the regressors' first values
REGRESSORS = {2: nn.Linear, 3: nn.Conv1d, 4: nn.Conv2d}  # by the output's axes


class Hints(nn.Module):
    """A companion of the student's training (compress/train.py).

    Args:
        pairs: the student's layer → the teacher's.
        weight: γ.
        lr: of the regressors, Adam.
        example: input of both networks.

    Raises:
        BadInputError: a layer is not there, or a pair cannot be compared.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        pairs: Mapping[str, str],
        *,
        weight: float,
        lr: float,
        example: Tensor,
    ) -> None:
        super().__init__()
        self.pairs, self.weight = dict(pairs), weight
        outputs = seen(student, teacher, self.pairs, example)
        self.student = Taps(student, pairs.keys(), learning=True)
        self.teacher = Taps(teacher, pairs.values(), learning=False)
        with torch.random.fork_rng():
            torch.manual_seed(SEED)
            self.regressors = nn.ModuleList(
                REGRESSORS[s.ndim](s.shape[1], t.shape[1], *(() if s.ndim == 2 else (1,)))
                for s, t in outputs
            )
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr)

    def loss(self) -> Tensor:
        """γ·Σ mean squared error of the newest batch."""
        found = []
        for regressor, (own, other) in zip(self.regressors, self.pairs.items(), strict=True):
            s = self.student[own].float()
            found.append(F.mse_loss(regressor(s), like(self.teacher[other], s)))
        return self.weight * torch.stack(found).sum()

    def step(self) -> None:
        """Move the regressors."""
        self.optimizer.step()
        self.optimizer.zero_grad()

    def close(self) -> None:
        """Take the hooks away."""
        self.student.close()
        self.teacher.close()

    def get_extra_state(self) -> Any:
        """The optimizer's moments are part of a checkpoint."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: Any) -> None:
        """Restore them."""
        self.optimizer.load_state_dict(state)
