"""Attention transfer: the student learns where the teacher's maps are large.

S. Zagoruyko, N. Komodakis, "Paying More Attention to Attention", ICLR 2017, equation 2, with the
mean of their published code in place of the norm.

    Q = Σ_c A_c²                                  attention map [positions] of one layer's output A
    Loss = task's loss + β·Σ_pairs mean( (Q_S/‖Q_S‖₂ − Q_T/‖Q_T‖₂)² )

A map has no channels, so student and teacher may have any number of them.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.distillation.taps import FEATURES_LAST, Taps, like, seen
from device.errors import BadInputError


def attention(maps: Tensor) -> Tensor:
    """Q/‖Q‖₂ of maps [batch, channels, …] → [batch, positions]."""
    return F.normalize(maps.square().sum(1).flatten(1))


class Attention:
    """A companion of the student's training (compress/train.py) that has nothing to learn.

    Args:
        pairs: the student's layer → the teacher's.
        weight: β.
        example: input of both networks.

    Raises:
        BadInputError: a layer is not there, has no positions, or a pair cannot be compared.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        pairs: Mapping[str, str],
        *,
        weight: float,
        example: Tensor,
    ) -> None:
        self.pairs, self.weight = dict(pairs), weight
        outputs = seen(student, teacher, pairs, example)
        for (own, other), (s, _) in zip(self.pairs.items(), outputs, strict=True):
            for name, net in ((own, student), (other, teacher)):
                if s.ndim == 2 or isinstance(net.get_submodule(name), FEATURES_LAST):
                    raise BadInputError(
                        f"layer {name} puts out no maps that attention could look at"
                    )
        self.student = Taps(student, pairs.keys(), learning=True)
        self.teacher = Taps(teacher, pairs.values(), learning=False)

    def to(self, device: torch.device) -> "Attention":
        return self

    def loss(self) -> Tensor:
        """β·Σ mean squared difference of the newest batch's maps."""
        found = []
        for own, other in self.pairs.items():
            s = self.student[own].float()
            t = like(self.teacher[other], s)
            found.append((attention(s) - attention(t)).square().mean())
        return self.weight * torch.stack(found).sum()

    def step(self) -> None:
        """No parameters move."""

    def close(self) -> None:
        """Take the hooks away."""
        self.student.close()
        self.teacher.close()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
