"""python -m tests.compress.shared_batch ROOT OUT DIES: train as two processes, or as one.

Every process writes what it ended with; DIES is the rank that ends itself on the way, 0: nobody.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import typer
from torch import nn

from compress import distributed, recipe, train
from compress.steps import Schedule
from compress.task import Batch, Task
from compress.tasks.birds import Birds
from device.errors import BadInputError, run
from tests.compress import shapes


class Dying(Birds):
    """Ends its process in the second epoch."""

    rank = 0

    def batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        if epoch == 1 and 0 < distributed.rank() == self.rank:
            os._exit(7)
        return super().batches(epoch, seed)


def without_batch_statistics(net: nn.Module) -> nn.Module:
    """The same network, normalised per example."""
    for parent in list(net.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.BatchNorm2d):
                setattr(parent, name, nn.GroupNorm(1, layer.num_features))
    return net


def schedule(root: Path) -> Schedule:
    """Of the recipe, in float32: sums of parts are compared with those of wholes."""
    return recipe.load(str(root / "shapes.toml")).baseline.model_copy(
        update={"precision": "32-true"}
    )


def fit(task: Task, net: nn.Module, root: Path, checkpoint: Path) -> list[float]:
    """Losses of the epochs."""
    log = train.fit(task, net, schedule(root), seed=0, checkpoint=checkpoint, label="train")
    return [entry.loss for entry in log]


cli = typer.Typer()


@cli.command()
def main(root: Path, out: Path, dies: int) -> None:
    torch.set_num_threads(1)
    task = shapes.make_task(root, root / "shapes.toml")
    task.__class__, Dying.rank = Dying, dies
    with distributed.together(2):
        rank = distributed.rank()
        torch.manual_seed(rank)  # the first one's weights count
        nets = {"batch": task.build(), "example": without_batch_statistics(task.build())}
        losses = {
            name: fit(task, net, root, out / f"{name}-{rank}.checkpoint")
            for name, net in nets.items()
        }
        try:
            distributed.part((torch.zeros(7),))
        except BadInputError as error:
            refused = str(error)
        least = distributed.least(np.array([[1.0 + rank, 2.0 - rank]]))
        states = {name: net.state_dict() for name, net in nets.items()}
        torch.save(
            {**states, "losses": losses, "refused": refused, "least": least.tolist()},
            out / f"{rank}.pt",
        )


if __name__ == "__main__":
    run(cli)
