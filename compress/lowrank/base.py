"""What every low-rank form of a convolution is: small convolutions whose product is its kernel.

A form says which small convolutions stand for one convolution, which ranks make them exact, which
ranks keep a share of the kernel's energy or what noise cannot explain, and how the kernel is taken
apart. All forms keep stride, padding, dilation and output channels, and the bias goes to the last
small convolution, so a batch norm behind it folds as before.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from compress import count

Conv = nn.Conv1d | nn.Conv2d
Ranks = tuple[int, ...]


class Form(Protocol):
    """A module of this package; W [out, in, *window] is the kernel, in float64."""

    def applies(self, conv: Conv) -> bool:
        """Whether the form makes sense for this window."""
        ...

    def largest(self, W: Tensor) -> Ranks:
        """The smallest ranks at which the form is exact for any kernel of this shape."""
        ...

    def for_energy(self, W: Tensor, energy: float) -> Ranks:
        """The smallest ranks known to keep `energy` of ΣW²."""
        ...

    def for_noise(self, W: Tensor) -> Ranks:
        """The ranks that VBMF tells from noise (compress/lowrank/vbmf.py), at least 1."""
        ...

    def layers(self, conv: Conv, ranks: Ranks) -> list[Conv]:
        """The small convolutions, first to last, weights not set."""
        ...

    def factors(self, W: Tensor, ranks: Ranks) -> list[Tensor]:
        """Their weights."""
        ...


def eligible(layer: nn.Module) -> bool:
    """Whether a layer is a convolution that can be factorised; grouped ones are left alone."""
    return type(layer) in (nn.Conv1d, nn.Conv2d) and bool(layer.groups == 1)


def axes(conv: Conv) -> tuple[int, ...]:
    """The window's axes: 0 for time, or 0 and 1 for height and width."""
    return tuple(range(len(conv.kernel_size)))


def part(conv: Conv, inputs: int, outputs: int, kept: Collection[int], *, groups: int = 1) -> Conv:
    """A convolution that does what `conv` does along the axes `kept`, and nothing along others."""

    def along(values: Sequence[int], otherwise: int) -> tuple[int, ...]:
        return tuple(value if axis in kept else otherwise for axis, value in enumerate(values))

    padding = conv.padding if isinstance(conv.padding, str) else along(conv.padding, 0)
    kind: Callable[..., Conv] = nn.Conv1d if isinstance(conv, nn.Conv1d) else nn.Conv2d
    return kind(
        inputs,
        outputs,
        along(conv.kernel_size, 1),
        along(conv.stride, 1),
        padding,
        along(conv.dilation, 1),
        groups,
        bias=False,
        padding_mode=conv.padding_mode,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )


def hollow(form: Form, conv: Conv, ranks: Ranks) -> nn.Sequential:
    """The small convolutions that stand for `conv`; the weights are anything."""
    layers = form.layers(conv, ranks)
    if conv.bias is not None:
        layers[-1].bias = nn.Parameter(torch.zeros_like(conv.bias))
    return nn.Sequential(*layers).train(conv.training)


def factorised(form: Form, conv: Conv, ranks: Ranks) -> nn.Sequential:
    """The small convolutions with their weights: what replaces `conv`."""
    made = hollow(form, conv, ranks)
    state = {
        f"{index}.weight": weight for index, weight in enumerate(form.factors(kernel(conv), ranks))
    }
    if conv.bias is not None:
        state[f"{len(made) - 1}.bias"] = conv.bias.detach()
    made.load_state_dict(state)
    return made


def kernel(conv: nn.Module) -> Tensor:
    """A convolution's weight in float64, without its history."""
    assert isinstance(conv.weight, Tensor)
    return conv.weight.detach().double()


def product(layers: Sequence[nn.Module]) -> Tensor:
    """The kernel [out, in, *window] that a chain of small convolutions stands for, float64.

    Along each axis of the window at most one of them may be longer than 1.
    """
    dense = kernel(layers[0])
    for layer in layers[1:]:
        W = kernel(layer)
        if layer.groups != 1:
            dense = W * dense
            continue
        joined = torch.tensordot(W, dense, ([1], [0]))  # [out, *of W, in, *of dense]
        axes = range(W.ndim - 2)
        order = [part for axis in axes for part in (1 + axis, W.ndim + axis)]
        sizes = [W.shape[2 + axis] * dense.shape[2 + axis] for axis in axes]
        dense = joined.permute(0, W.ndim - 1, *order).reshape(len(W), -1, *sizes)
    return dense


def error(conv: Conv, made: nn.Sequential) -> float:
    """‖W − what `made` stands for‖ / ‖W‖, Frobenius."""
    W = kernel(conv)
    return float((W - product(list(made))).norm() / W.norm().clamp_min(1e-30))


def cost(layer: nn.Module, shape: Sequence[int]) -> tuple[int, int]:
    """Multiply-accumulates and parameters of a layer on one input [1, channels, …]."""
    example = torch.zeros(1, *shape[1:])
    return count.macs(layer, example), count.parameters(layer)


def smallest(spectrum: Tensor, dropped: float) -> int:
    """The least number of leading singular values whose rest holds at most `dropped` of Σσ²."""
    energy = spectrum.square()
    rest = energy.sum() - energy.cumsum(0)
    return int((rest > dropped * energy.sum() * (1 + 1e-12)).sum()) + 1


def window(W: Tensor) -> int:
    """Weights of one kernel."""
    return math.prod(W.shape[2:])
