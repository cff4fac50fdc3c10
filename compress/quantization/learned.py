"""Ranges of activations that a network learned in training, and that its export shall use."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from compress.quantization import fake

MOMENTUM = 0.01  # of the newest batch in a range


class Ranges(nn.Module):
    """Child of a network; a group is tensors of the deployed file that share one scale.

    Args:
        tensors: the file's names of the tensors of each group.
        frozen_after: training steps after which ranges stay as they are.
    """

    low: Tensor  # [groups]
    high: Tensor
    steps: Tensor  # [] seen in training

    def __init__(self, tensors: Sequence[Sequence[str]], frozen_after: int = 0) -> None:
        super().__init__()
        self.tensors = tuple(tuple(group) for group in tensors)
        self.frozen_after = frozen_after
        self.register_buffer("low", torch.zeros(len(self.tensors)))
        self.register_buffer("high", torch.zeros(len(self.tensors)))
        self.register_buffer("steps", torch.tensor(0))
        self._seen: dict[int, tuple[Tensor, Tensor]] = {}

    def quantized(self, group: int, x: Tensor) -> Tensor:
        """What x becomes in the deployed file; its range is remembered for `update`."""
        if self.training and torch.is_grad_enabled():
            low, high = x.detach().float().aminmax()
            if group in self._seen:
                low = torch.minimum(low, self._seen[group][0])
                high = torch.maximum(high, self._seen[group][1])
            self._seen[group] = low, high
        return fake.activation(x, self.low[group], self.high[group])

    def update(self) -> None:
        """After a training pass: let the ranges follow what it saw."""
        if not self._seen:
            return
        if int(self.steps) < self.frozen_after:
            for group, (low, high) in self._seen.items():
                self.low[group].lerp_(low, MOMENTUM)
                self.high[group].lerp_(high, MOMENTUM)
        self.steps += 1
        self._seen.clear()

    def by_tensor(self) -> dict[str, tuple[float, float]]:
        """(low, high) of every tensor of the deployed file."""
        limits = zip(self.tensors, self.low.tolist(), self.high.tolist(), strict=True)
        return {name: (low, high) for group, low, high in limits for name in group}


def learned(net: nn.Module) -> dict[str, tuple[float, float]]:
    """The ranges a network, or what it is wrapped in, carries; empty if it learned none."""
    for module in net.modules():
        if isinstance(module, Ranges):
            return module.by_tensor()
    return {}
