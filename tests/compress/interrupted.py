"""python -m tests.compress.interrupted ROOT RECIPE CHECKPOINT STOP: train, and hang in epoch STOP.

The test that starts this kills it there: a machine that loses power in the middle of an epoch.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from compress import recipe, train
from compress.task import Batch
from compress.tasks.birds import Birds
from tests.compress import shapes


class Hanging(Birds):
    """Stops for good after the first batch of one epoch."""

    stop = 0

    def batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        for batch in super().batches(epoch, seed):
            yield batch
            if epoch == self.stop:
                print("hanging", flush=True)
                time.sleep(600)


def main(root: Path, path: Path, checkpoint: Path, stop: int) -> None:
    torch.set_num_threads(1)
    task = shapes.make_task(root, path)
    task.__class__, Hanging.stop = Hanging, stop
    torch.manual_seed(0)
    schedule = recipe.load(str(path)).baseline
    train.fit(task, task.build(), schedule, seed=0, checkpoint=checkpoint, label="train")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]), stop=int(sys.argv[4]))
