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
    frozen = [parameter for parameter in net.parameters() if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        with resting(net):
            yield net
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
