"""One training in several processes that share each batch (DistributedDataParallel).

    python -m compress run RECIPE --devices 2                 two processes on this machine
    torchrun --nnodes 2 --nproc-per-node 4 … -m compress run RECIPE      on several machines

Every process runs the whole recipe and comes to the same decisions; of a batch each trains on its
part, and gradients are averaged. The first process, rank 0, alone writes: checkpoints, finished
stages, bundles, the report. `torch.distributed` knows the processes; without it there is one.

Processes started here talk over loopback only and meet through a file; PyTorch's usual meeting
point, as torchrun uses it, listens on all of a machine's addresses.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn

from compress.precision import Precision, usable
from compress.task import Batch
from device.errors import BadInputError, FieldwrenError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

TORCHRUN = "TORCHELASTIC_RUN_ID"  # set where torchrun started this process
MEETING = "FIELDWREN_MEETING"  # path of the file where processes started here find each other
END = 60.0  # seconds that the other processes may take to end after the first one
DYING = 5.0  # seconds that a process may take to end after its connections were closed


def count() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is."""
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> bool:
    """Is this the process that writes?"""
    return rank() == 0


def barrier() -> None:
    """Wait for the others."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def together(devices: int) -> Iterator[None]:
    """Be one of several processes: of `devices` on this machine, or of those torchrun started.

    The others run this process's command again.

    Raises:
        BadInputError: `devices` was given to a process that torchrun started.
        FieldwrenError: another process failed.
    """
    if TORCHRUN in os.environ:
        if devices > 1:
            raise BadInputError("--devices: torchrun says how many: give it --nproc-per-node")
        with _member("env://", int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])):
            yield
    elif MEETING in os.environ:
        with _member(os.environ[MEETING], int(os.environ["LOCAL_RANK"]), devices):
            yield
    elif devices == 1:
        yield
    else:
        with tempfile.TemporaryDirectory(prefix="fieldwren-") as folder:
            meeting = f"file://{folder}/meeting"
            os.environ.update(
                GLOO_SOCKET_IFNAME="lo",
                NCCL_SOCKET_IFNAME="lo",
                LOCAL_RANK="0",
                LOCAL_WORLD_SIZE=str(devices),
            )
            with _others(meeting, devices, Path(folder)), _member(meeting, 0, devices):
                yield


def fabric(precision: Precision) -> "Fabric":
    """Lightning's Fabric for one training by all processes."""
    from lightning_fabric import Fabric  # takes seconds, and only training needs it
    from lightning_fabric.strategies.ddp import DDPStrategy

    if count() == 1:
        return Fabric(accelerator="auto", devices=1, precision=usable(precision))
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    made = Fabric(
        accelerator="auto",
        devices=here,
        num_nodes=count() // here,
        strategy=DDPStrategy(broadcast_buffers=False),  # `agree` averages them
        precision=usable(precision),
    )
    made.launch()  # starts nothing: the processes are there
    return made


def alone(shared: "Fabric", precision: Precision) -> "Fabric":
    """The same device without the others, for networks that have no gradients to average."""
    from lightning_fabric import Fabric

    if count() == 1:
        return shared
    index = shared.device.index
    return Fabric(
        accelerator="auto", devices=1 if index is None else [index], precision=usable(precision)
    )


def part(batch: Batch) -> Batch:
    """What this process trains on: its share of every tensor, along the first axis.

    Raises:
        BadInputError: the batch cannot be shared equally.
    """
    size, processes = len(batch[0]), count()
    if size % processes:
        raise BadInputError(
            f"a batch of {size} is not to be shared by {processes} processes: make its size a "
            "multiple of them"
        )
    own = size // processes
    return tuple(tensor[rank() * own : (rank() + 1) * own] for tensor in batch)


def mean(value: float) -> float:
    """Of a number that every process has."""
    if count() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return float(total) / count()


def least(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Element by element, the smallest over the processes: of times that each took by itself, so
    that all come to the same decisions. Other work can only add to a time."""
    if count() == 1:
        return values
    shared = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(shared, op=dist.ReduceOp.MIN)
    return shared.numpy()


def agree(net: nn.Module) -> None:
    """Average the statistics of normalisation, which every process took from its own part."""
    if count() > 1:
        for buffer in net.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= count()


@contextmanager
def _member(meeting: str, number: int, size: int) -> Iterator[None]:
    dist.init_process_group(init_method=meeting, rank=number, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def _others(meeting: str, size: int, folder: Path) -> Iterator[None]:
    """The other processes of this machine. What they print is not shown: it is the same."""
    command = [sys.executable, *sys.orig_argv[1:]]
    errors = {number: folder / f"{number}.err" for number in range(1, size)}
    running: dict[int, subprocess.Popen[bytes]] = {}
    try:
        for number, path in errors.items():
            environment = {**os.environ, MEETING: meeting, "LOCAL_RANK": str(number)}
            with path.open("wb") as stderr:
                running[number] = subprocess.Popen(
                    command, env=environment, stdout=subprocess.DEVNULL, stderr=stderr
                )
        yield
        for process in running.values():
            process.wait(END)
    except RuntimeError as error:  # in a collective operation: the connection was closed
        failed = _failed(running)
        if failed is None:
            raise
        last = (errors[failed].read_text().splitlines() or ["no message"])[-1]
        raise FieldwrenError(
            f"process {failed} of {size} ended with code {running[failed].returncode} ({last}): "
            "start the command again to go on"
        ) from error
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def _failed(running: Mapping[int, "subprocess.Popen[bytes]"]) -> int | None:
    """The process that failed: the first to end, since the others end only for want of it."""
    limit = time.monotonic() + DYING
    while True:
        for number, process in running.items():
            if process.poll():
                return number
        if time.monotonic() > limit:
            return None
        time.sleep(0.05)
