"""python -m tests.compress.enas.strided_space ROOT RECIPE: train shared weights on two threads.

With batches of five and fewer than sixteen channels, oneDNN's gradient of a 1 × 1 convolution with
a stride aborts the process (compress/strided.py).
"""

from pathlib import Path

import torch
import typer

from compress.enas.cost import Sum
from compress.enas.micro import Micro
from compress.recipe import load
from compress.tasks.birds import make
from compress.workers import InProcess
from device.errors import run
from models.enas import Enas
from tests.compress.enas import children

EPOCHS = 12
cli = typer.Typer()


def space(root: Path, path: Path) -> Micro:
    """The recipe's, with fresh weights."""
    loaded = load(str(path))
    task = make(loaded.settings, (root,), 0)
    assert loaded.search is not None
    torch.manual_seed(0)
    net = task.build()
    assert isinstance(net, Enas)
    return Micro(task, net, loaded.search, Sum(), InProcess(), 0)


@cli.command()
def main(root: Path, recipe: Path) -> None:
    torch.set_num_threads(2)
    searched = space(root, recipe)
    for epoch in range(EPOCHS):
        searched.train(epoch, lambda count: [children.drawn(n, 2, (0.0,)) for n in range(count)])
    print("fine")


if __name__ == "__main__":
    run(cli)
