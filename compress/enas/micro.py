"""The space of cells: weights shared by all children, and the evaluation of one.

Training and pruning are decoupled [S]: the shared weights are trained on unpruned paths, one
drawn for every minibatch, and an evaluation runs its minibatch twice through the same weights,
as they are and with channels faked away. Only the path that was drawn is run and trained:
weights off it have no gradient, and SGD passes them over.
"""

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from compress import precision
from compress.enas.cost import Cost
from compress.enas.fake import FakePruning
from compress.enas.grades import Searchable, placed
from compress.enas.reward import Evaluation
from compress.enas.search import Candidate
from compress.steps.search import Search
from compress.strided import subsampled
from compress.train import EPOCH_SEEDS, clip
from compress.workers import Shared, Workers
from device.errors import FieldwrenError
from models.enas import Architecture, Enas, Fake


class Path(nn.Module):
    """The space on one of its paths: what a task's loss and grade can call."""

    def __init__(
        self, net: nn.Module, architecture: Architecture, fake: Fake | None = None
    ) -> None:
        super().__init__()
        self.net, self.architecture, self.fake = net, architecture, fake

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x, self.architecture, self.fake)
        return logits


def evaluate(
    task: Shared[Searchable],
    net: Shared[nn.Module],
    cost: Shared[Cost],
    step: Search,
    candidate: Candidate[Architecture],
) -> Evaluation:
    """One candidate on its minibatch, unpruned and pruned."""
    space, path = net.get().eval(), candidate.choice
    judge = task.get()
    batch = placed(judge.minibatch(candidate.minibatch, step.batch), space)
    half = precision.half(step.precision)
    with torch.no_grad(), torch.autocast(batch[0].device.type, torch.bfloat16, enabled=half):
        fake = FakePruning()
        if any(path.ratios):
            accuracy = judge.grade(Path(space, path), batch)
            pruned = judge.grade(Path(space, path, fake), batch)
        else:  # one pass is both, and what its operations cost still counts
            accuracy = pruned = judge.grade(Path(space, path, fake), batch)
    return Evaluation(accuracy, pruned, cost.get().ratio(path, fake.kept))


class Micro:
    """A Space (compress/enas/search.py) of cells."""

    fixed = False

    def __init__(
        self, task: Searchable, net: Enas, step: Search, cost: Cost, workers: Workers, seed: int
    ) -> None:
        from lightning_fabric import Fabric  # takes seconds, and only training needs it

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        self.task, self.net, self.step, self.workers, self.seed = task, net, step, workers, seed
        self.minibatches = task.minibatches(step.batch)
        self.fabric = Fabric(
            accelerator="auto", devices=1, precision=precision.usable(step.precision)
        )
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(
            net.parameters(),
            lr=step.lr,
            momentum=step.momentum,
            nesterov=step.momentum > 0,
            weight_decay=step.weight_decay,
        )
        self.model, self.wrapped = self.fabric.setup(net, self.optimizer)
        self._task, self._cost = workers.share(task), workers.share(cost)
        self._shared: Shared[nn.Module] | None = None  # the weights as they are between epochs

    def train(self, epoch: int, draw: Callable[[int], Sequence[Architecture]]) -> float:
        """One epoch of the training split; mean loss.

        Raises:
            FieldwrenError: loss or gradients are not finite.
        """
        self._shared = None
        torch.manual_seed(self.seed * EPOCH_SEEDS + epoch)
        self.model.train()
        steps = self.task.steps()
        paths = draw(steps)
        summed = 0.0
        with subsampled(self.net):  # the weights of all edges have few channels
            for index, batch in enumerate(self.task.batches(epoch, self.seed)):
                for group in self.optimizer.param_groups:
                    group["lr"] = rate(epoch + index / steps, self.step)
                path = Path(self.model, paths[index].unpruned())
                parts = tuple(self.fabric.to_device(part) for part in batch)
                loss = self.task.loss(path, parts, None)
                self.wrapped.zero_grad()
                self.fabric.backward(loss)
                summed += clip(self.fabric, self.model, self.wrapped, self.step.clip)
                self.wrapped.step()
                summed += float(loss.detach())
        if not math.isfinite(summed):
            raise FieldwrenError(
                f"search: loss or gradients are not finite in epoch {epoch + 1}: lower lr"
            )
        return summed / steps

    def evaluate(self, candidates: Sequence[Candidate[Architecture]]) -> list[Evaluation]:
        """Candidates on the weights as they are, in order."""
        if self._shared is None:
            self._shared = self.workers.share(self.net)
        one = partial(evaluate, self._task, self._shared, self._cost, self.step)
        return list(self.workers.map(one, candidates))

    def state_dict(self) -> dict[str, Any]:
        """Shared weights and their optimizer."""
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])


def rate(epoch: float, step: Search) -> float:
    """Cosine restarts: from lr to lr_min in `restart` epochs, then in twice as many, and so on.

    I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.
    """
    period: float = step.restart
    while epoch >= period:
        epoch, period = epoch - period, 2 * period
    return step.lr_min + (step.lr - step.lr_min) * (1 + math.cos(math.pi * epoch / period)) / 2
