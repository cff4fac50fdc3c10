"""python -m tests.compress.interrupted_search ROOT FOLDER N: search, and hang after N probes.

The test that starts this kills it there: a machine that loses power between two probes.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from compress import recipe, store
from compress.stages import Context, cicr
from compress.task import Batch
from compress.tasks.birds import Birds
from tests.compress import shapes


class Hanging(Birds):
    """Stops for good after the first batch of a training, once enough probes are finished."""

    folder = Path()
    stop = 0

    def batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        finished = len(list(self.folder.glob(f"probe-*/{store.RECORD}")))
        for batch in super().batches(epoch, seed):
            yield batch
            if finished >= self.stop:
                print("hanging", flush=True)
                time.sleep(600)


def main(root: Path, folder: Path, stop: int) -> None:
    torch.set_num_threads(1)
    path = root / "search.toml"
    task = shapes.make_task(root, path)
    task.__class__, Hanging.folder, Hanging.stop = Hanging, folder, stop
    torch.manual_seed(0)
    net = task.build().eval()
    teacher = task.build().eval()
    context = Context(task, 0, task.example(), teacher, folder / "checkpoint.pt")
    cicr.run(context, net, recipe.load(str(path)).steps[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
