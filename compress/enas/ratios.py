"""The LSTM that picks a ratio for every group of a fixed network, and its random control.

As compress/enas/controller.py without states and operations: one step a group, whose input is
the group's own embedding plus that of the ratio chosen before. [C]
"""

import torch
from torch import Tensor, nn

from compress.enas.controller import RATIOS, SPREAD, TANH_RATIO, UNITS, Draw, Samples, squashed


class RatioController(nn.Module):
    """Samples one ratio for each of so many groups."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.lstm = nn.LSTMCell(UNITS, UNITS, bias=False)
        self.group = nn.Embedding(groups, UNITS)
        self.ratio = nn.Embedding(len(RATIOS), UNITS)
        self.to_ratio = nn.Linear(UNITS, len(RATIOS), bias=False)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-SPREAD, SPREAD)

    def sample(self, generator: torch.Generator, count: int) -> Samples[tuple[float, ...]]:
        """Draw so many times."""
        draw = Draw(count, generator)
        state = torch.zeros(count, UNITS), torch.zeros(count, UNITS)
        before = torch.zeros(count, UNITS)
        picked = []
        for group in self.group.weight:
            state = self.lstm(group + before, state)
            index = draw.pick(squashed(self.to_ratio(state[0]), TANH_RATIO))
            before = self.ratio(index)
            picked.append(index)
        return _samples(draw, picked)


class UniformRatios:
    """Every ratio by an even chance."""

    def __init__(self, groups: int) -> None:
        self.groups = groups

    def sample(self, generator: torch.Generator, count: int) -> Samples[tuple[float, ...]]:
        """Draw so many times."""
        draw = Draw(count, generator)
        even = torch.zeros(count, len(RATIOS))
        return _samples(draw, [draw.pick(even) for _ in range(self.groups)])


def _samples(draw: Draw, picked: list[Tensor]) -> Samples[tuple[float, ...]]:
    rows = torch.stack(picked, 1).tolist()
    choices = tuple(tuple(RATIOS[index] for index in row) for row in rows)
    return Samples(choices, draw.log_prob, draw.entropy)
