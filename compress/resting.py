"""A network in evaluation mode for a while, and then as it was found."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def resting(net: nn.Module) -> Iterator[nn.Module]:
    """`net` in evaluation mode; after that every module is back in its own, as is a frozen stem."""
    training = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield net
    finally:
        for module, mode in training.items():
            module.training = mode


@contextmanager
def differentiable(net: nn.Module) -> Iterator[nn.Module]:
    """`resting`, with gradients for frozen parameters, too."""
    with _gradients(net, True), resting(net):
        yield net


@contextmanager
def constant(net: nn.Module) -> Iterator[nn.Module]:
    """`resting`, without gradients: a teacher."""
    with _gradients(net, False), resting(net):
        yield net


@contextmanager
def _gradients(net: nn.Module, wanted: bool) -> Iterator[None]:
    others = [part for part in net.parameters() if part.requires_grad is not wanted]
    for parameter in others:
        parameter.requires_grad_(wanted)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(not wanted)
