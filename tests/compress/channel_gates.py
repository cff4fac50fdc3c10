"""Inf-CP's gates on a network of tests/compress/graphs.py."""

import torch
from torch import Tensor, nn

from compress import allocation, infcp
from compress.stages import infcp as stage
from compress.steps import InfCp


def step(**changes: object) -> InfCp:
    """The recipe's table."""
    table = {"kind": "infcp", "ratio": 0.5, "epochs": 1, "lr": 0.05, "round_to": 1, **changes}
    return InfCp.model_validate(table)


def picture(seed: int = 0) -> Tensor:
    """Four of them."""
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def gates(net: nn.Module, settings: InfCp, total: int = 10) -> infcp.Gates:
    """On all of it but the classifier."""
    x = picture()
    budget = allocation.make_plan(
        net, x, [net.get_submodule("classifier")], stage.counts(settings), 0
    )
    return infcp.Gates(net, x, budget, settings, total)
