"""Inf-CP: gates that learn from the influence of channels which of them a layer can do without.

    influence of a weight   −W·∂L/∂W: the change of the loss when a mask on it goes from 1 to 0 [F]
    f   = EMA(.98) of Σ|W·∂L/∂W| over the weights of a channel, divided by the layer's mean [C]
    e   = H·(f − 1)                        one head H [channels, channels] a group
    E   = σ(β·e + b)                       the gate, multiplies the output channels
    Loss = task's loss + Σ_l λ_l·(mean(E_l) − T_l/|C_l|)²
    λ_l = 5·|T_l/|C_l| + B_l/|C_l| − 1|    if 1 − B_l/|C_l| ≥ T_l/|C_l|, else 0

|C_l|   channels of a group; layers tied by a residual sum are one group and share a gate
T_l     channels to keep: those of a uniform plan for the recipe's ratio or MACs
B_l     channels whose gate was shut (below SHUT) in the mean over a window of steps
β       steepness, grows from a small value, so that gates become 0 or 1 while they still learn

λ pushes while more is kept than asked; the loss of the task holds useful gates open. [S]

What the source leaves open [C]:
- The influence of one batch makes gates flip, so f is a moving average of magnitudes.
- H starts as 10·√(2/n)·I: a gate first listens to its own channel. Random rows of that scale, as
  AutoPruner has, chose at random here: with 8 of 16 channels useless by construction they shut 2
  to 5 of the 8, the diagonal all 8, in each of three seeds.
- Features are centred and b starts at OPEN, so every gate starts at σ(4) = .98; β does not steepen
  b, or no gate could ever close again.
- A gate sits behind the batch norm, which would undo one before it; for a layer without norm
  it is on the layer's own output.
- β grows geometrically to `beta_end` at the last step, or automatically: whenever the share of
  gates in their final state, (open ones up to T, shut ones up to |C| − T) / |C|, has fallen behind
  a straight line from ΣT/Σ|C| at the first step to 1 at the last, β grows by GROWTH.
- Whatever the gates say, exactly T_l channels stay: those with the largest window mean of E.
- At the end E is multiplied into norm and weights, so the network does not change by taking the
  gates away.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from compress import prune
from compress.criteria import filters, members
from compress.criteria.base import Group
from compress.criteria.filters import kernel, rows
from compress.criteria.members import TINY, Member
from compress.prune import Cut, Plan
from compress.steps import InfCp

DECAY = 0.98  # of the influence's moving average, per step
SCALE = 10.0  # of a head's initial diagonal, times √(2 / n)
OPEN = 4.0  # initial b: gates start at 0.98
SHUT = 0.05  # a gate below it counts as binarised to zero, above 1 − SHUT as open
GROWTH = 2.0  # of β in a window that is behind the line
STEEPEST = 100.0  # largest automatic β
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)


def pressure(target: int, channels: int, shut: int, factor: float) -> float:
    """λ of one group: factor·|T/C + B/C − 1| while at least T channels are not shut, else 0."""
    if channels - shut < target:
        return 0.0
    return factor * abs(target + shut - channels) / channels


def settled(values: Tensor, target: int) -> int:
    """Gates in their final state: of those open and of those shut, as many as there is room for."""
    shut, opened = int((values < SHUT).sum()), int((values > 1 - SHUT).sum())
    return min(shut, len(values) - target) + min(opened, target)


class Gate(nn.Module):
    """The gate of one group, its head and what it remembers of influence and of itself."""

    influence: Tensor  # [n] moving average, 1 on the mean
    summed: Tensor  # [n] of E over the current window
    mean: Tensor  # [n] of E over the newest whole window
    weight: Tensor  # [] λ

    def __init__(self, cut: Cut, group: Group, factor: float) -> None:
        super().__init__()
        n = cut.channels
        self.cut, self.factor = cut, factor
        self.producers = members.producers(group)
        self.gated = _gated(group, self.producers)
        self.head = nn.Linear(n, n)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(n) * SCALE * math.sqrt(2 / n))
            self.head.bias.fill_(OPEN)
        self.register_buffer("influence", torch.ones(n))
        self.register_buffer("summed", torch.zeros(n))
        self.register_buffer("mean", torch.ones(n))
        self.register_buffer("weight", torch.tensor(pressure(cut.kept, n, 0, factor)))

    def value(self, beta: float) -> Tensor:
        """E [n], in float32 also inside autocast."""
        with torch.autocast(self.influence.device.type, enabled=False):
            e = self.head.weight @ (self.influence - 1)
            return torch.sigmoid(beta * e + self.head.bias)

    def loss(self, beta: float) -> Tensor:
        """λ·(mean(E) − T/|C|)²."""
        return self.weight * (self.value(beta).mean() - self.cut.kept / self.cut.channels) ** 2

    def observe(self) -> None:
        """Take the influence from the gradients of the producers' weights."""
        found = torch.zeros_like(self.influence)
        for member in self.producers:
            gradient = member.layer.weight.grad
            if not isinstance(gradient, Tensor):
                continue  # the layer had no part in this batch
            product = rows(member.layer, (kernel(member.layer) * gradient).abs()).sum(1)
            own = torch.zeros_like(found)
            own.index_add_(0, self.entries(member), product[member.channels].float())
            found += own / own.mean().clamp_min(TINY)
        self.influence.lerp_(found / len(self.producers), 1 - DECAY)

    def entries(self, member: Member) -> Tensor:
        """The gate's entries [k] that a member's channels [k] belong to."""
        # a group of equal parts counts in positions (compress/patterns.py)
        return member.roots % self.cut.channels

    def close_window(self, steps: int) -> None:
        """Turn the sum over a window into its mean, and that into the next λ."""
        self.mean.copy_(self.summed / steps)
        self.summed.zero_()
        shut = int((self.mean < SHUT).sum())
        self.weight.fill_(pressure(self.cut.kept, self.cut.channels, shut, self.factor))

    def chosen(self) -> Cut:
        """Exactly T channels stay: those whose gates were open most over a window."""
        order = self.mean.cpu().argsort(stable=True)
        removed = order[: self.cut.channels - self.cut.kept].sort().values
        return self.cut.model_copy(update={"removed": tuple(removed.tolist())})


class Gates(nn.Module):
    """All gates of a network: a companion of its training (compress/train.py).

    Args:
        net: gets hooks, which `fold` takes away.
        example: input for the dependency graph.
        budget: how many channels each group keeps; which they are is forgotten.
        settings: the recipe's.
        total: training steps there will be.
    """

    progress: Tensor  # [] steps taken
    beta: Tensor  # []

    def __init__(
        self,
        net: nn.Module,
        example: Tensor,
        budget: Plan,
        settings: InfCp,
        total: int,
    ) -> None:
        super().__init__()
        self.settings, self.total = settings, total
        self.window = min(settings.window, total)
        groups = prune.whole_groups(net, example, budget)
        self.gates = [
            Gate(cut, group, settings.factor)
            for cut, group in zip(budget.cuts, groups, strict=True)
        ]
        self.listed = nn.ModuleList(self.gates)  # their tensors are this module's state
        self.register_buffer("progress", torch.tensor(0))
        self.register_buffer("beta", torch.tensor(settings.beta_start, dtype=torch.float64))
        self.optimizer = torch.optim.Adam(self.parameters(), lr=settings.gate_lr)
        self.hooks = [
            layer.register_forward_hook(self._hook(layer, parts))
            for layer, parts in self._by_layer().items()
        ]

    def values(self) -> list[Tensor]:
        """E of every group, in the order of the budget's cuts."""
        return [gate.value(float(self.beta)) for gate in self.gates]

    def loss(self) -> Tensor:
        """What is added to the task's loss."""
        beta = float(self.beta)
        return torch.stack([gate.loss(beta) for gate in self.gates]).sum()

    def step(self) -> None:
        """After the gradients of a batch: remember the influence, move the gates, steepen them."""
        with torch.no_grad():
            for gate, value in zip(self.gates, self.values(), strict=True):
                gate.observe()
                gate.summed += value
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.progress += 1
            if int(self.progress) % self.window == 0:
                for gate in self.gates:
                    gate.close_window(self.window)
            self._steepen()

    def plan(self) -> Plan:
        """The budget, met exactly in every group."""
        return Plan(cuts=tuple(gate.chosen() for gate in self.gates))

    def fold(self) -> None:
        """Multiply the gates into the network and take the hooks away: the same function."""
        with torch.no_grad():
            for layer, parts in self._by_layer().items():
                scale = self._scale(parts)
                for parameter in layer.parameters(recurse=False):
                    if parameter.ndim > 1:
                        scaled = rows(layer, parameter) * scale[:, None]
                        parameter.copy_(filters.weight(layer, scaled))
                    else:
                        parameter.mul_(scale)
        for hook in self.hooks:
            hook.remove()

    def get_extra_state(self) -> Any:
        """The optimizer's moments are part of a checkpoint."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: Any) -> None:
        """Restore them."""
        self.optimizer.load_state_dict(state)

    def _steepen(self) -> None:
        settings, share = self.settings, int(self.progress) / self.total
        if settings.beta == "geometric":
            self.beta.fill_(
                settings.beta_start * (settings.beta_end / settings.beta_start) ** share
            )
        elif int(self.progress) % self.window == 0:
            channels = sum(gate.cut.channels for gate in self.gates)
            start = sum(gate.cut.kept for gate in self.gates) / channels
            done = sum(settled(gate.mean, gate.cut.kept) for gate in self.gates) / channels
            if done < start + (1 - start) * share:
                self.beta.mul_(GROWTH).clamp_(max=STEEPEST)

    def _by_layer(self) -> dict[nn.Module, list[tuple[Gate, Member]]]:
        found: dict[nn.Module, list[tuple[Gate, Member]]] = {}
        for gate in self.gates:
            for member in gate.gated:
                found.setdefault(member.layer, []).append((gate, member))
        return found

    def _scale(self, parts: list[tuple[Gate, Member]]) -> Tensor:
        """What a layer's outputs are multiplied with [outputs], one where no gate sits."""
        scale = self.beta.new_ones(parts[0][1].size, dtype=torch.float32)
        for gate, member in parts:
            value = gate.value(float(self.beta))[gate.entries(member)]
            scale = scale.index_copy(0, member.channels.to(scale.device), value)
        return scale

    def _hook(self, layer: nn.Module, parts: list[tuple[Gate, Member]]) -> Any:
        last = isinstance(layer, nn.Linear)

        def multiply(_layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            scale = self._scale(parts).to(output.dtype)
            return output * (scale if last else scale.view(-1, *[1] * (output.ndim - 2)))

        return multiply


def _gated(group: Group, producers: list[Member]) -> list[Member]:
    """Layers whose outputs a group's gate multiplies: norms, and producers without one."""
    nodes = {item.dep.target.module: item.dep.target for item in group}

    def normed(member: Member) -> bool:
        return any(isinstance(after.module, NORMS) for after in nodes[member.layer].outputs)

    return [*members.norms(group), *(member for member in producers if not normed(member))]
