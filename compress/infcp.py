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

compress/gate.py holds head, loss, λ and β. What the source leaves open [C]:
- The influence of one batch makes gates flip, so f is a moving average of magnitudes.
- H starts as 10·√(2/n)·I: a gate first listens to its own channel. Random rows of that scale, as
  AutoPruner has, chose at random here: with 8 of 16 channels useless by construction they shut 2
  to 5 of the 8, the diagonal all 8, in each of three seeds.
- Features are centred and b starts at OPEN, so every gate starts at σ(4) = .98; β does not steepen
  b, or no gate could ever close again.
- A gate sits behind the batch norm, which would undo one before it. Where something else reads the
  layer too, as the sum of a pre-activation block does, or there is no norm, it is on the layer's
  own output: the norm behind that undoes it, so what it lets through is gated once.
- β grows geometrically to `beta_end` at the last step, or automatically: whenever the share of
  gates in their final state, (open ones up to T, shut ones up to |C| − T) / |C|, has fallen behind
  a straight line from ΣT/Σ|C| at the first step to 1 at the last, β grows by GROWTH, or by more
  where the windows are too few to come from `beta_start` to STEEP that way.
- Whatever the gates say, exactly T_l channels stay: those with the largest window mean of E.
- At the end E is multiplied into norm and weights, so the network does not change by taking the
  gates away.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress import patterns, prune
from compress.criteria import filters, members
from compress.criteria.base import Group
from compress.criteria.filters import kernel, rows
from compress.criteria.members import TINY, Member
from compress.figures import Figure, Series
from compress.gate import Gate
from compress.gate import Gates as LearningGates
from compress.prune import Cut, Plan, Scored
from compress.steps import InfCp
from device.errors import FieldwrenError

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)


class ChannelGate(Gate):
    """The gate of one group of channels.

    Raises:
        FieldwrenError: a layer to be gated, as a norm without scale and shift, can take no gate up.
    """

    def __init__(self, cut: Cut, group: Group, factor: float) -> None:
        super().__init__(cut.channels, cut.kept, factor)
        self.cut = cut
        found = patterns.portions(group._DG, group, cut.channels)  # its graph has no public name
        self.portions = frozenset(own for _, own in found)
        self.producers = members.producers(group)
        self.gated = _gated(group, self.producers)
        for member in self.gated:
            if "weight" not in dict(member.layer.named_parameters(recurse=False)):
                raise FieldwrenError(
                    f"{member.name} has no weights of its own that could take a gate up: "
                    f'keep = ["{cut.layer}"] leaves its channels whole'
                )

    def observe(self) -> None:
        """Take the influence from the gradients of the producers' weights."""
        found = torch.zeros_like(self.influence)
        for member in self.producers:
            gradient = member.layer.weight.grad
            if not isinstance(gradient, Tensor):
                continue  # the layer had no part in this batch
            product = rows(member.layer, (kernel(member.layer) * gradient).abs()).sum(1)
            own = torch.zeros_like(found)
            own.index_add_(0, self.entries(member).to(own.device), product[member.channels].float())
            found += own / own.mean().clamp_min(TINY)
        self.listen(found / len(self.producers))

    def entries(self, member: Member) -> Tensor:
        """The gate's entries [k] that a member's channels [k] belong to."""
        # a group of equal parts counts in positions (compress/patterns.py)
        return member.roots % self.cut.channels

    def least(self) -> tuple[int, ...]:
        """All but the T channels that were open most over a window; of a portion of a torch.split
        at least one stays."""
        scored = Scored(self.cut.layer, self.cut.members, self.mean.cpu(), self.portions)
        return scored.cut(self.kept).removed

    def chosen(self) -> Cut:
        """Exactly T channels stay."""
        return self.cut.model_copy(update={"removed": self.removed()})


class Gates(LearningGates):
    """All gates of a network: a companion of its training (compress/train.py).

    Args:
        net: gets hooks, which `fold` takes away.
        example: input for the dependency graph.
        budget: how many channels each group keeps; which they are is forgotten.
        settings: the recipe's.
        total: training steps there will be.

    Raises:
        FieldwrenError: as ChannelGate.
    """

    def __init__(
        self,
        net: nn.Module,
        example: Tensor,
        budget: Plan,
        settings: InfCp,
        total: int,
    ) -> None:
        groups = prune.whole_groups(net, example, budget)
        gates = [
            ChannelGate(cut, group, settings.factor)
            for cut, group in zip(budget.cuts, groups, strict=True)
        ]
        super().__init__(gates, settings, settings.beta_start, settings.beta_end, total)
        self.gates = gates
        self.hooks = [
            layer.register_forward_hook(self._hook(layer, parts))
            for layer, parts in self._by_layer().items()
        ]

    def plan(self) -> Plan:
        """The budget, met exactly in every group."""
        return Plan(cuts=tuple(gate.chosen() for gate in self.gates))

    def figures(self) -> tuple[Figure, Figure]:
        """What the gates heard and what they came to, every group's channels in rising order."""

        def drawn(title: str, y: str, values: list[Tensor]) -> Figure:
            series = tuple(
                Series(
                    name=gate.cut.layer,
                    x=tuple(np.linspace(0, 100, gate.size).round(2).tolist()),
                    y=tuple(own.detach().cpu().double().sort().values.numpy().round(5).tolist()),
                )
                for gate, own in zip(self.gates, values, strict=True)
            )
            return Figure(title=f"Inf-CP: {title}", x="channels, %", y=y, series=series)

        return (
            drawn("gates at the end, each group's", "E", self.values()),
            drawn(
                "influence at the end, each group's",
                "f, of the group's mean",
                [gate.influence for gate in self.gates],
            ),
        )

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

    def _by_layer(self) -> dict[nn.Module, list[tuple[ChannelGate, Member]]]:
        found: dict[nn.Module, list[tuple[ChannelGate, Member]]] = {}
        for gate in self.gates:
            for member in gate.gated:
                found.setdefault(member.layer, []).append((gate, member))
        return found

    def _scale(self, parts: list[tuple[ChannelGate, Member]]) -> Tensor:
        """What a layer's outputs are multiplied with [outputs], one where no gate sits."""
        scale = self.beta.new_ones(parts[0][1].size, dtype=torch.float32)
        for gate, member in parts:
            value = gate.value(float(self.beta))[gate.entries(member)]
            scale = scale.index_copy(0, member.channels.to(scale.device), value)
        return scale

    def _hook(self, layer: nn.Module, parts: list[tuple[ChannelGate, Member]]) -> Any:
        last = isinstance(layer, nn.Linear)

        def multiply(_layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            scale = self._scale(parts).to(output.dtype)
            return output * (scale if last else scale.view(-1, *[1] * (output.ndim - 2)))

        return multiply


def _gated(group: Group, producers: list[Member]) -> list[Member]:
    """Layers whose outputs a group's gate multiplies: norms, and producers that others read."""
    nodes = {item.dep.target.module: item.dep.target for item in group}

    def normed(member: Member) -> bool:
        readers = nodes[member.layer].outputs
        return bool(readers) and all(isinstance(one.module, NORMS) for one in readers)

    return [*members.norms(group), *(member for member in producers if not normed(member))]
