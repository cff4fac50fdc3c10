"""Eight column strategies of an LSTM layer, learned from influence together with the network.

[S] Source 002, chapter 4: one strategy vector for each of W_x{i,f,g,o} and W_h{i,f,g,o}, over its
columns, with the gates of Inf-CP and a steepness of their own, β_x for W_x* and β_h for W_h*; the
columns of the matrix are multiplied by it, those it shuts by zero (fake pruning).

    W'_g = W_g · diag(E_g)         E_g = σ(β·H(f_g − 1) + b)         f_g: influence of its columns

compress/gate.py has head, loss and schedule of such a gate. A GRU layer has six.

[C] Every gate's budget is the same share of its columns; exactly that many stay, those open most
in the last window. W' is what is kept: at the end E is multiplied into the matrix.
"""

from typing import Any

import torch
from torch import Tensor, nn

from compress.criteria.members import TINY
from compress.gate import Gate, Gates
from compress.rnn import columns
from compress.steps.rnn_gates import RnnGates
from device.errors import FieldwrenError
from models.projections import Projection


class ColumnGate(Gate):
    """The strategy vector of one gate's matrix."""

    def __init__(self, side: Projection, group: int, kept: int, factor: float) -> None:
        super().__init__(side.inputs, kept, factor)
        self.group = group
        self.source = [side]  # in a list: the network's weights are not this module's

    def observe(self) -> None:
        """Take the influence of the columns from the gradient of the stacked matrices."""
        (side,) = self.source
        weight = side.parts[0].factors[0]
        if weight.grad is None:
            return  # the layer had no part in this batch
        product = (weight.grad * weight).view(side.groups, -1, self.size)[self.group]
        found = product.abs().sum(0).float()
        self.listen(found / found.mean().clamp_min(TINY))


class Strategies(nn.Module):
    """All strategy vectors of a network: a companion of its training (compress/train.py).

    Args:
        net: its recurrent layers multiply their columns by the gates until `take`.
        total: training steps there will be.

    Raises:
        FieldwrenError: columns were chosen before, or no layer is left to choose from.
    """

    def __init__(self, net: nn.Module, settings: RnnGates, total: int) -> None:
        super().__init__()
        self.sides = columns.sides(net, settings.keep)
        if not self.sides:
            raise FieldwrenError("nothing to prune: keep leaves no recurrent layer")
        if any(part.kept is not None for side in self.sides.values() for part in side.parts):
            raise FieldwrenError("columns of a recurrent layer are learned once, before others go")
        ratio, factor = settings.ratio, settings.factor
        self.by_side = {
            name: [
                ColumnGate(side, group, columns.remaining(side.inputs, ratio), factor)
                for group in range(side.groups)
            ]
            for name, side in self.sides.items()
        }
        starts = {"x": settings.beta_x, "h": settings.beta_h}
        self.halves = nn.ModuleDict(
            {
                half: Gates(
                    [
                        gate
                        for name, own in self.by_side.items()
                        for gate in own
                        if name[-1] == half
                    ],
                    settings,
                    start,
                    settings.beta_end,
                    total,
                )
                for half, start in starts.items()
            }
        )
        for name, side in self.sides.items():
            side.gate = self._multiplier(name)

    def loss(self) -> Tensor:
        """What is added to the task's loss."""
        return torch.stack([half.loss() for half in self._halves()]).sum()

    def step(self) -> None:
        """After the gradients of a batch."""
        for half in self._halves():
            half.step()

    def take(self) -> dict[str, list[Tensor]]:
        """Multiply the gates into the matrices, zero what goes, and let go of the layers.

        Returns the columns [k] that each gate of each matrix reads.
        """
        read = {}
        for name, side in self.sides.items():
            weight, gates = side.dense().detach(), self.by_side[name]
            gone = [torch.tensor(gate.removed(), dtype=torch.int64) for gate in gates]
            for rows, away in zip(weight.chunk(side.groups), gone, strict=True):
                rows[:, away] = 0
            side.gate = None
            with torch.no_grad():
                side.parts[0].factors[0].copy_(weight)
            every = set(range(side.inputs))
            read[name] = [torch.tensor(sorted(every - set(away.tolist()))) for away in gone]
        return read

    def _halves(self) -> list[Gates]:
        return [half for half in self.halves.values() if isinstance(half, Gates)]

    def _multiplier(self, name: str) -> Any:
        gates, half = self.by_side[name], self.halves[name[-1]]
        assert isinstance(half, Gates)

        def values() -> Tensor:
            beta = float(half.beta)
            return torch.stack([gate.value(beta) for gate in gates])[:, None]

        return values
