"""Running statistics of batch norms after channels have gone: the means over some batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from compress import prune
from compress.statistics import Loss, count, placed
from compress.task import Batch
from device.errors import BadInputError

Norm = nn.modules.batchnorm._BatchNorm


def recalibrate(net: nn.Module, loss: Loss, batches: Sequence[Batch]) -> None:
    """Give batch norms the mean statistics of the batches.

    Raises:
        BadInputError: none of the batches has statistics for all norms, or they are no sequence.
    """
    batches = usable(net, loss, batches)
    if not batches:
        raise BadInputError("a norm finds no statistics in one example: give batches of two")
    with batch_statistics(net) as norms, torch.no_grad():
        if not norms:
            return
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean
        for batch in batches:
            loss(net, on_device(net, batch))


def usable(net: nn.Module, loss: Loss, batches: Sequence[Batch]) -> Sequence[Batch]:
    """The batches without those of one example, if a norm behind a mean finds nothing in such."""
    if not isinstance(batches, Sequence):
        raise BadInputError(
            "batches are gone through more than once, in one order: give a list of them, not a "
            f"{type(batches).__name__}"
        )
    single = next((batch for batch in batches if count(batch) == 1), None)
    if single is None:
        return batches
    try:
        with batch_statistics(copied := prune.copied(net)), torch.no_grad():
            loss(copied, on_device(copied, single))
    except ValueError:
        return [batch for batch in batches if count(batch) > 1]
    return batches


def on_device(net: nn.Module, batch: Batch) -> Batch:
    """The batch where the network is."""
    return placed(batch, next(net.parameters()).device)


@contextmanager
def batch_statistics(net: nn.Module) -> Iterator[list[Norm]]:
    """Inside, batch norms use each batch's own statistics; outside, everything is at rest."""
    norms = [module for module in net.modules() if isinstance(module, Norm)]
    momenta = [norm.momentum for norm in norms]
    net.eval()
    for norm in norms:
        norm.train()
    try:
        yield norms
    finally:
        net.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
