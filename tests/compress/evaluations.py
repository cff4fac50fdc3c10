"""Pieces of work that tests hand to a cluster, in a module that its processes can import."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from compress.task import Batch
from compress.tasks.birds import Birds
from compress.workers import Shared
from device.errors import BadInputError


def learn(seed: int) -> tuple[Tensor, float, int]:
    """A convolution after three steps, a number nobody seeded, and the threads used."""
    drawn = float(torch.rand(()))
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(8, 3, 3, 3, generator=generator).requires_grad_()
    x = torch.randn(4, 3, 16, 16, generator=generator)
    for _ in range(3):
        (slope,) = torch.autograd.grad(F.conv2d(x, weight).square().mean(), weight)
        weight.data -= 0.1 * slope
    return weight.detach(), drawn, torch.get_num_threads()


def fail_at_two(item: int) -> int:
    if item == 2:
        raise BadInputError("item 2: not usable")
    return item


def mark(shared: Shared[list[int]], item: int) -> tuple[int, int]:
    """This process, and how many of its calls saw the value it unpacked."""
    value = shared.get()
    value.append(item)
    return os.getpid(), len(value)


def stop_once(marker: Path) -> None:
    """The first process that comes here leaves its number and waits for its end."""
    try:
        file = marker.open("x")
    except FileExistsError:
        return
    with file:
        file.write(f"{os.getpid()}\n")
    time.sleep(600)


def number_of(marker: Path) -> int | None:
    """The process that stopped there, when there is one."""
    text = marker.read_text() if marker.exists() else ""
    return int(text) if text.endswith("\n") else None


def learn_but_stop_once(marker: Path, seed: int) -> tuple[Tensor, float, int]:
    if seed == 1:
        stop_once(marker)
    return learn(seed)


class StopsOnce(Birds):
    """A task whose training stops once, in the middle of an epoch, outside the driver."""

    marker = Path()
    driver = 0

    def batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        for index, batch in enumerate(super().batches(epoch, seed)):
            if index == 1 and os.getpid() != self.driver:
                stop_once(self.marker)
            yield batch
