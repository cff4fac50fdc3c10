"""Truncated singular value decomposition of one matrix, and how far it is cut.

W = U S Vᵀ ≈ (U_r S_r) V_rᵀ           stored as L = U_r S_r [rows, r] and R = V_rᵀ [r, inputs]
threshold t    r = |{i: σ_i > t·σ_1}|                       [S] 002, ch. 4; relative to σ_1 [C]
energy e       r = the smallest with Σ_{i≤r} σ_i² ≥ e·Σσ²   [C] 1 − e is the squared error's share
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Rule = Literal["threshold", "energy"]


@dataclass(frozen=True)
class Decomposition:
    """U [rows, n], σ [n] descending, Vᵀ [n, inputs] of a matrix, in float64."""

    left: Tensor
    values: Tensor
    right: Tensor

    @classmethod
    def of(cls, matrix: Tensor) -> "Decomposition":
        """Of [rows, inputs]."""
        return cls(*torch.linalg.svd(matrix.detach().double(), full_matrices=False))

    def rank(self, rule: Rule, limit: float) -> int:
        """How many singular values a rule keeps, at least one."""
        if rule == "threshold":
            return max(1, int((self.values > limit * self.values[0]).sum()))
        energy = self.values.square().cumsum(0)
        wanted = limit * energy[-1] * (1 - 1e-12)  # all of it is not missed by rounding
        return min(len(energy), int((energy < wanted).sum()) + 1)

    def factors(self, rank: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """L [rows, rank] and R [rank, inputs], with σ shared evenly between them.

        √σ on either side has the product's gradient reach both factors alike in fine-tuning; the
        product is the same as with all of S on the left.
        """
        root = self.values[:rank].sqrt()
        left, right = self.left[:, :rank] * root, root[:, None] * self.right[:rank]
        return left.to(dtype).contiguous(), right.to(dtype).contiguous()
