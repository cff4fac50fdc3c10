"""What every compact block is: a module that takes the place of a convolution.

It reads the same channels and writes as many on as many positions; the norm and the activation
that followed the convolution follow the block. Inside, every convolution has its own batch norm,
so all of it folds when the network is exported.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, cast

from torch import nn

Pair = tuple[int, int]


class Block(Protocol):
    """A module of this package."""

    def build(self, conv: nn.Conv2d, size: float) -> nn.Module:
        """The block in place of `conv`, freshly initialised; `size` is what its file says.

        Raises:
            ValueError: the block cannot have this convolution's shape; the message says why.
        """
        ...


def unit(
    inputs: int,
    outputs: int,
    like: nn.Conv2d | None = None,
    *,
    groups: int = 1,
    activation: nn.Module | None = None,
) -> nn.Sequential:
    """Convolution, norm and activation: 1 × 1, or with the window of another convolution."""
    like = like or point()
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(
        inputs,
        outputs,
        cast(Pair, like.kernel_size),
        cast(Pair, like.stride),
        like.padding if isinstance(like.padding, str) else cast(Pair, like.padding),
        cast(Pair, like.dilation),
        groups,
        bias=False,
        padding_mode=like.padding_mode,
    )
    layers["norm"] = nn.BatchNorm2d(outputs)
    if activation is not None:
        layers["activation"] = activation
    return nn.Sequential(layers)


def point(stride: tuple[int, ...] = (1, 1)) -> nn.Conv2d:
    """The window of a 1 × 1 convolution."""
    return nn.Conv2d(1, 1, 1, cast(Pair, stride), device="meta")


def centred(conv: nn.Conv2d) -> bool:
    """Whether output position i looks at the window around input position i · stride."""
    if isinstance(conv.padding, str):
        return conv.padding == "same"
    sizes: Sequence[tuple[int, int, int]] = list(
        zip(conv.padding, conv.dilation, conv.kernel_size, strict=True)
    )
    return all(2 * padding == dilation * (kernel - 1) for padding, dilation, kernel in sizes)


def divisor(most: float, *numbers: int) -> int:
    """The largest whole number up to `most`, and at least 1, that divides all numbers."""
    return max((d for d in range(1, int(most) + 1) if all(n % d == 0 for n in numbers)), default=1)
