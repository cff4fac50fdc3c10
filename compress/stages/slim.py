"""Train with a price on every channel's scale, so that those of no use come near zero.

Z. Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017.

    Loss = L + λ·Σ |γ|

γ  factors of all batch norms    λ  price of one
The gradient of |γ| is its sign, 0 at 0: the paper's subgradient. Nothing is removed here: `prune`
with the criterion bn_scale and scope = "global" follows, and a fine-tune.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compress.figures import Figure, Series
from compress.stages.base import Context, Outcome, same
from compress.stages.tuning import tune
from compress.steps import Slim
from device.errors import FieldwrenError

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
rebuild = same


class Price:
    """A Companion (compress/train.py): λ·Σ |γ|."""

    def __init__(self, factors: Sequence[Tensor], penalty: float) -> None:
        self.factors, self.penalty = factors, penalty

    def to(self, device: torch.device) -> "Price":
        return self

    def loss(self) -> Tensor:
        """Of the factors as they are."""
        return self.penalty * torch.stack([factor.abs().sum() for factor in self.factors]).sum()

    def step(self) -> None:
        """It has no parameters of its own."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


def run(context: Context, net: nn.Module, step: Slim) -> Outcome:
    """Train to the last epoch.

    Raises:
        FieldwrenError: no batch norm has factors, or the loss is not finite.
    """
    found = [layer.weight for layer in net.modules() if isinstance(layer, NORMS) and layer.affine]
    if not found:
        raise FieldwrenError("slim: no batch norm has factors: use another method")
    before = _sorted(found)
    log = tune(context, net, step, "slim", companion=Price(found, step.penalty))
    figure = Figure(
        title="slim: scales of all channels",
        x="channel, the smallest first",
        y="|γ|",
        series=(_curve("before", before), _curve("after", _sorted(found))),
    )
    return Outcome(log=tuple(log), figures=(figure,))


def _sorted(factors: Sequence[Tensor]) -> list[float]:
    every = torch.cat([factor.detach().abs().flatten() for factor in factors])
    values: list[float] = every.sort().values.tolist()
    return values


def _curve(name: str, values: list[float]) -> Series:
    return Series(name=name, x=tuple(map(float, range(1, len(values) + 1))), y=tuple(values))
