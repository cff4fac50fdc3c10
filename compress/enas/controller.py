"""The LSTM that designs: for every edge a state, an operation and a ratio.

One LSTM of 64 units samples both cells, the reduction cell going on from the normal cell's final
state. Within a cell, after two steps for the inputs, every node takes five or seven steps:

    index₁ index₂ op₁ op₂ (ratio₁ ratio₂) anchor

    index logits   vᵀ tanh(W₁ h_anchor + W₂ h) over the states there are     [F, ENAS micro]
    op logits      W h + b, b = (10, 10, 0, 0, 0) at first, and in the normal cell a fixed
                   ±.25 more for and against the separable convolutions
    ratio logits   W h                                                       [C]
    squashing      1.10·tanh(index), 1.10/2.5·tanh(op), 2.5·tanh(ratio)
    next input     the anchor of the state chosen, the embedding of the operation or ratio chosen

Each cell's two inputs get a ratio, too: their calibration is a good part of a small network. [C]
With 1.10, nine ratios could be no further from uniform than .53 for the favourite: 2.5 is .95. [C]

Weights start in U(−.1, .1). What a search leaves to others (`decide`) is given, neither sampled
nor rewarded, but read by the LSTM all the same.
"""

from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.enas import INPUTS, OPERATIONS, Architecture, Edge, Node, Plan

UNITS = 64
SPREAD = 0.1  # of the initial weights
TANH = 1.10
TANH_OP = 1.10 / 2.5
TANH_RATIO = 2.5
FAVOUR = (10.0, 10.0, 0.0, 0.0, 0.0)  # initial bias of the operations
HOLD = (0.25, 0.25, -0.25, -0.25, -0.25)  # fixed bias, normal cell
RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
Decide = Literal["both", "cells", "ratios"]
Choice = TypeVar("Choice")
State = tuple[Tensor, Tensor]  # of the LSTM: h, c [draws, UNITS]


@dataclass
class Decided:
    """One cell of some draws: an index [draws] for every decision, edge after edge."""

    inputs: list[Tensor] = field(default_factory=list)
    operations: list[Tensor] = field(default_factory=list)
    ratios: list[Tensor] = field(default_factory=list)  # of the two inputs first


@dataclass(frozen=True)
class Samples(Generic[Choice]):
    """Some draws; the tensors [draws] carry gradients to the controller."""

    choices: tuple[Choice, ...]
    log_prob: Tensor
    entropy: Tensor


class Draw:
    """The decisions of some samples so far: how likely they were [draws], and how open."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.generator = generator
        self.log_prob, self.entropy = torch.zeros(count), torch.zeros(count)

    def pick(self, logits: Tensor) -> Tensor:
        """Indices [draws] of logits [draws, choices]."""
        log_p = F.log_softmax(logits, 1)
        p = log_p.exp()
        index = torch.multinomial(p.detach(), 1, generator=self.generator)
        self.log_prob = self.log_prob + log_p.gather(1, index)[:, 0]
        self.entropy = self.entropy - (p * log_p).sum(1)
        return index[:, 0]


def squashed(logits: Tensor, limit: float) -> Tensor:
    """limit · tanh(logits)."""
    return limit * torch.tanh(logits)


class Controller(nn.Module):
    """Samples architectures.

    Args:
        nodes: of each cell.
        decide: "both", "cells" alone (every ratio 0), or "ratios" of a given architecture.
        given: the architecture whose ratios are decided.
    """

    def __init__(self, nodes: int, decide: Decide, given: Architecture | None = None) -> None:
        super().__init__()
        assert (given is not None) == (decide == "ratios")
        self.nodes, self.decide, self.given = nodes, decide, given
        self.lstm = nn.LSTMCell(UNITS, UNITS, bias=False)
        self.start = nn.Parameter(torch.empty(UNITS))
        self.operation = nn.Embedding(len(OPERATIONS), UNITS)
        self.ratio = nn.Embedding(len(RATIOS), UNITS)
        self.to_operation = nn.Linear(UNITS, len(OPERATIONS))
        self.to_ratio = nn.Linear(UNITS, len(RATIOS), bias=False)
        self.anchored = nn.Linear(UNITS, UNITS, bias=False)  # W₁
        self.asking = nn.Linear(UNITS, UNITS, bias=False)  # W₂
        self.attention = nn.Linear(UNITS, 1, bias=False)  # v
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-SPREAD, SPREAD)
            self.to_operation.bias.copy_(torch.tensor(FAVOUR))

    def sample(self, generator: torch.Generator, count: int) -> Samples[Architecture]:
        """Draw both cells, so many times."""
        draw = Draw(count, generator)
        state = torch.zeros(count, UNITS), torch.zeros(count, UNITS)
        cells = []
        for reduction in (False, True):
            decided, state = self._cell(draw, state, reduction)
            cells.append(decided)
        choices = tuple(_architecture(cells, index) for index in range(count))
        return Samples(choices, draw.log_prob, draw.entropy)

    def _cell(self, draw: Draw, state: State, reduction: bool) -> tuple[Decided, State]:
        count = len(draw.log_prob)
        nodes = None if self.given is None else self.given.plans[reduction].nodes
        hold = torch.zeros(len(HOLD)) if reduction else torch.tensor(HOLD)
        start = self.start.expand(count, -1)
        x, decided = start, Decided()
        anchors, asked = [], []
        for _ in range(INPUTS):
            state = self.lstm(x, state)
            anchors.append(torch.zeros(count, UNITS))
            asked.append(self.anchored(state[0]))
            x = self._ratio(draw, state, decided, start)
        for node in range(self.nodes):
            given = nodes[node].edges if nodes is not None else (None, None)
            for edge in given:
                state = self.lstm(x, state)
                query = torch.tanh(torch.stack(asked, 1) + self.asking(state[0])[:, None])
                logits = squashed(self.attention(query)[..., 0], TANH)
                index = draw.pick(logits) if edge is None else _all(count, edge.input)
                decided.inputs.append(index)
                x = torch.stack(anchors, 1)[torch.arange(count), index]
            for edge in given:
                state = self.lstm(x, state)
                logits = squashed(self.to_operation(state[0]), TANH_OP) + hold
                known = None if edge is None else OPERATIONS.index(edge.operation)
                index = draw.pick(logits) if known is None else _all(count, known)
                decided.operations.append(index)
                x = self.operation(index)
            for _ in given:
                if self.decide != "cells":
                    state = self.lstm(x, state)
                x = self._ratio(draw, state, decided, x)
            state = self.lstm(x, state)
            anchors.append(state[0])
            asked.append(self.anchored(state[0]))
            x = start
        return decided, state

    def _ratio(self, draw: Draw, state: State, decided: Decided, otherwise: Tensor) -> Tensor:
        """Decide a ratio if that is wanted; returns the LSTM's next input."""
        if self.decide == "cells":
            decided.ratios.append(_all(len(draw.log_prob), RATIOS.index(0.0)))
            return otherwise
        index = draw.pick(squashed(self.to_ratio(state[0]), TANH_RATIO))
        decided.ratios.append(index)
        return cast(Tensor, self.ratio(index))


class Uniform:
    """The control: every decision by an even chance, nothing learned."""

    def __init__(self, nodes: int, decide: Decide, given: Architecture | None = None) -> None:
        self.nodes, self.decide, self.given = nodes, decide, given

    def sample(self, generator: torch.Generator, count: int) -> Samples[Architecture]:
        """Draw both cells, so many times."""
        draw = Draw(count, generator)

        def even(choices: int) -> Tensor:
            return draw.pick(torch.zeros(count, choices))

        cells = []
        for reduction in (False, True):
            plan = None if self.given is None else self.given.plans[reduction]
            decided = Decided()
            for node in range(self.nodes):
                for side in range(2):
                    edge = None if plan is None else plan.nodes[node].edges[side]
                    decided.inputs.append(
                        even(INPUTS + node) if edge is None else _all(count, edge.input)
                    )
                    decided.operations.append(
                        even(len(OPERATIONS))
                        if edge is None
                        else _all(count, OPERATIONS.index(edge.operation))
                    )
            free = self.decide != "cells"
            for _ in range(INPUTS + 2 * self.nodes):
                decided.ratios.append(even(len(RATIOS)) if free else _all(count, 0))
            cells.append(decided)
        choices = tuple(_architecture(cells, index) for index in range(count))
        return Samples(choices, draw.log_prob, draw.entropy)


def _all(count: int, value: int) -> Tensor:
    return torch.full((count,), value)


def _architecture(cells: list[Decided], draw: int) -> Architecture:
    normal, reduction = (_plan(decided, draw) for decided in cells)
    return Architecture(normal=normal, reduction=reduction)


def _plan(decided: Decided, draw: int) -> Plan:
    ratios = [RATIOS[int(index[draw])] for index in decided.ratios]
    edges = [
        Edge(
            input=int(index[draw]),
            operation=OPERATIONS[int(decided.operations[number][draw])],
            ratio=ratios[INPUTS + number],
        )
        for number, index in enumerate(decided.inputs)
    ]
    nodes = tuple(Node(left=edges[i], right=edges[i + 1]) for i in range(0, len(edges), 2))
    return Plan(nodes=nodes, ratios=(ratios[0], ratios[1]))
