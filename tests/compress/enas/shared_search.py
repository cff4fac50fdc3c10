"""python -m tests.compress.enas.shared_search OUT: two processes go on with one search.

The second comes late to the checkpoint: not before the first has written another, if it does.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import typer

from compress import distributed
from device.errors import run
from tests.compress.enas.test_finalists import STEP, Priced, Ratios, searched

LATE = 3.0  # seconds
cli = typer.Typer()


class Counting(Priced):
    """Knows which epochs it trained."""

    def train(self, epoch: int, draw: Callable[[int], Sequence[Ratios]]) -> None:
        super().train(epoch, draw)
        self.epochs = [*getattr(self, "epochs", []), epoch]


@cli.command()
def main(out: Path) -> None:
    torch.set_num_threads(1)
    assert STEP.epochs == 3
    checkpoint = out / "search.pt"
    with distributed.together(2):
        written = checkpoint.stat().st_mtime_ns
        distributed.barrier()
        if not distributed.first():
            end = time.monotonic() + LATE
            while checkpoint.stat().st_mtime_ns == written and time.monotonic() < end:
                time.sleep(0.01)
        space = Counting(fixed=True)
        found = searched(space, out)
        torch.save([space.epochs, list(found.best)], out / f"{distributed.rank()}.pt")


if __name__ == "__main__":
    run(cli)
