"""A gate that learns from influence what a layer can do without, and many that learn together.

    f   = EMA(.98) of Σ|W·∂L/∂W| of what the gate can shut, divided by its mean [C]
    e   = H·(f − 1)                        one head H [n, n] a gate
    E   = σ(β·e + b)                       multiplies what it can shut
    Loss = task's loss + Σ_l λ_l·(mean(E_l) − T_l/|C_l|)²
    λ_l = factor·|T_l/|C_l| + B_l/|C_l| − 1|    if 1 − B_l/|C_l| ≥ T_l/|C_l|, else 0

|C_l| entries of a gate, T_l those to keep, B_l those shut (below SHUT) in a window's mean.

λ fades as the budget comes near, so gates stop short of it, and what is cut then has learned to be
needed. With `closing`, the choice is made that share of the steps before the end: over the first
half of them E comes to 0 for what goes and to 1 for what stays, the second half trains what is
left, without the unrest of gates. [C]

The source's heads are FC, or Conv where the map of a kernel is large [S]. Here f is one number an
entry, summed over all its kernels: no map is left to convolve, and an FC has n² weights however
large the kernels are. [C]

compress/infcp.py puts such gates on output channels, compress/rnn/gates.py on the columns of
recurrent matrices; the reasons for the choices made here stand in compress/infcp.py.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

DECAY = 0.98  # of the influence's moving average, per step
SCALE = 10.0  # of a head's initial diagonal, times √(2 / n)
OPEN = 4.0  # initial b: gates start at 0.98
SHUT = 0.05  # a gate below it counts as binarised to zero, above 1 − SHUT as open
GROWTH = 2.0  # of β in a window that is behind the line, at least
STEEP = 4.0  # β that a gate which is always behind has in the end, at least
STEEPEST = 100.0  # largest automatic β


def pressure(target: int, channels: int, shut: int, factor: float) -> float:
    """λ of one gate: factor·|T/C + B/C − 1| while at least T entries are not shut, else 0."""
    if channels - shut < target:
        return 0.0
    return factor * abs(target + shut - channels) / channels


def settled(values: Tensor, target: int) -> int:
    """Entries in their final state: of those open and of those shut, as many as there is room."""
    shut, opened = int((values < SHUT).sum()), int((values > 1 - SHUT).sum())
    return min(shut, len(values) - target) + min(opened, target)


class Gate(nn.Module, ABC):
    """One gate of n entries, its head and what it remembers of influence and of itself.

    Args:
        size: n.
        kept: T, how many entries stay open in the end.
        factor: of λ.
    """

    influence: Tensor  # [n] moving average, 1 on the mean
    summed: Tensor  # [n] of E over the current window
    mean: Tensor  # [n] of E over the newest whole window
    weight: Tensor  # [] λ
    going: Tensor  # [n] bool: what goes, once that is decided
    closed: Tensor  # [] how much of the way to 0 and 1

    def __init__(self, size: int, kept: int, factor: float) -> None:
        super().__init__()
        self.size, self.kept, self.factor = size, kept, factor
        self.head = nn.Linear(size, size)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(size) * SCALE * math.sqrt(2 / size))
            self.head.bias.fill_(OPEN)
        self.register_buffer("influence", torch.ones(size))
        self.register_buffer("summed", torch.zeros(size))
        self.register_buffer("mean", torch.ones(size))
        self.register_buffer("weight", torch.tensor(pressure(kept, size, 0, factor)))
        self.register_buffer("going", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("closed", torch.zeros(()))

    def value(self, beta: float) -> Tensor:
        """E [n], in float32 also inside autocast."""
        with torch.autocast(self.influence.device.type, enabled=False):
            e = self.head.weight @ (self.influence - 1)
            learned = torch.sigmoid(beta * e + self.head.bias)
            return learned.lerp((~self.going).float(), self.closed)

    def loss(self, beta: float) -> Tensor:
        """λ·(mean(E) − T/|C|)²."""
        return self.weight * (self.value(beta).mean() - self.kept / self.size) ** 2

    @abstractmethod
    def observe(self) -> None:
        """Take the influence from the gradients there are, by `listen`."""

    def listen(self, found: Tensor) -> None:
        """Let one batch's influence [n], 1 on the mean, into the moving average."""
        self.influence.lerp_(found, 1 - DECAY)

    def close_window(self, steps: int) -> None:
        """Turn the sum over a window into its mean, and that into the next λ."""
        self.mean.copy_(self.summed / steps)
        self.summed.zero_()
        shut = int((self.mean < SHUT).sum())
        decided = bool(self.going.any())
        self.weight.fill_(0.0 if decided else pressure(self.kept, self.size, shut, self.factor))

    def shut(self, share: float) -> None:
        """Bring every entry so much of its way to 0 or 1; the first call decides which goes."""
        if not self.going.any():
            self.going[list(self.removed())] = True
            self.weight.zero_()
        self.closed.fill_(share)

    def removed(self) -> tuple[int, ...]:
        """All but T entries, ascending."""
        if self.going.any():
            return tuple(self.going.nonzero().flatten().tolist())
        return self.least()

    def least(self) -> tuple[int, ...]:
        """All but the T entries that were open most over a window, ascending."""
        order = self.mean.cpu().argsort(stable=True)
        return tuple(order[: self.size - self.kept].sort().values.tolist())


class Settings(Protocol):
    """What a recipe's table says about learning gates."""

    @property
    def gate_lr(self) -> float: ...
    @property
    def window(self) -> int: ...
    @property
    def beta(self) -> Literal["geometric", "automatic"]: ...
    @property
    def closing(self) -> float: ...


class Gates(nn.Module):
    """Gates of one steepness: a companion of a network's training (compress/train.py).

    Args:
        start, end: β at the first step and, growing geometrically, at the last.
        total: training steps there will be.
    """

    progress: Tensor  # [] steps taken
    beta: Tensor  # []

    def __init__(
        self, gates: Sequence[Gate], settings: Settings, start: float, end: float, total: int
    ) -> None:
        super().__init__()
        self.settings, self.start, self.end, self.total = settings, start, end, total
        self.window = min(settings.window, total)
        # what goes is decided by a whole window
        self.decided = self.window * math.ceil(total * (1 - settings.closing) / self.window)
        self.growth = max(GROWTH, (STEEP / start) ** (1 / (total // self.window)))
        self.listed = nn.ModuleList(gates)  # their tensors are this module's state
        self.register_buffer("progress", torch.tensor(0))
        self.register_buffer("beta", torch.tensor(start, dtype=torch.float64))
        self.optimizer = torch.optim.Adam(self.parameters(), lr=settings.gate_lr)

    def values(self) -> list[Tensor]:
        """E of every gate."""
        return [gate.value(float(self.beta)) for gate in self._gates()]

    def loss(self) -> Tensor:
        """What is added to the task's loss."""
        beta = float(self.beta)
        return torch.stack([gate.loss(beta) for gate in self._gates()]).sum()

    def step(self) -> None:
        """After the gradients of a batch: remember the influence, move the gates, steepen them."""
        gates = self._gates()
        with torch.no_grad():
            for gate, value in zip(gates, self.values(), strict=True):
                gate.observe()
                gate.summed += value
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.progress += 1
            if int(self.progress) % self.window == 0:
                for gate in gates:
                    gate.close_window(self.window)
            self._steepen()
            self._close()

    def get_extra_state(self) -> Any:
        """The optimizer's moments are part of a checkpoint."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: Any) -> None:
        """Restore them."""
        self.optimizer.load_state_dict(state)

    def _gates(self) -> list[Gate]:
        return [gate for gate in self.listed if isinstance(gate, Gate)]

    def _close(self) -> None:
        done, there_are = int(self.progress) - self.decided, self.total - self.decided
        if done >= 0 < there_are:
            for gate in self._gates():
                gate.shut(min(1.0, 2 * done / there_are))

    def _steepen(self) -> None:
        gates, share = self._gates(), int(self.progress) / self.total
        if self.settings.beta == "geometric":
            self.beta.fill_(self.start * (self.end / self.start) ** share)
        elif int(self.progress) % self.window == 0:
            entries = sum(gate.size for gate in gates)
            start = sum(gate.kept for gate in gates) / entries
            done = sum(settled(gate.mean, gate.kept) for gate in gates) / entries
            if done < start + (1 - start) * share:
                self.beta.mul_(self.growth).clamp_(max=STEEPEST)
