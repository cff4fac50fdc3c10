"""One layer of every kind that criteria must get right, each with an input like a feature map."""

import copy

import torch
from torch import Tensor, nn

from compress.criteria.filters import maps, weight

KINDS = {
    "plain": (nn.Conv2d(6, 8, 3, padding=1), (3, 6, 9, 9)),
    "pointwise": (nn.Conv2d(12, 8, 1), (3, 12, 7, 7)),
    "strided": (nn.Conv2d(4, 8, (3, 5), stride=(2, 1), bias=False), (3, 4, 11, 9)),
    "dilated": (nn.Conv2d(4, 8, 3, dilation=2, padding=2), (3, 4, 9, 9)),
    "grouped": (nn.Conv2d(6, 9, 3, padding=1, groups=3), (3, 6, 8, 8)),
    "depthwise": (nn.Conv2d(8, 8, 5, padding="same", groups=8), (3, 8, 9, 9)),
    "reflecting": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (3, 4, 7, 7)),
    "temporal": (nn.Conv1d(5, 8, 3, dilation=4), (3, 5, 30)),
    "temporal depthwise": (nn.Conv1d(8, 8, 3, dilation=2, groups=8), (3, 8, 20)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1), (3, 4, 5, 5)),
    "grouped transposed": (nn.ConvTranspose1d(6, 4, 4, 2, groups=2), (3, 6, 12)),
    "linear": (nn.Linear(20, 8), (16, 20)),
    "linear in time": (nn.Linear(20, 8), (3, 7, 20)),
}


def make(name: str) -> tuple[nn.Module, Tensor]:
    """The layer, with filters of every size and sign, and its input, smooth and not centred."""
    layer, shape = copy.deepcopy(KINDS[name][0]), KINDS[name][1]
    randomness = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=randomness) * 0.3 + 0.1)
    x = torch.randn(shape, generator=randomness).cumsum(-1) * 0.4 + 0.3
    return layer, x.relu()


def patches(layer: nn.Module, x: Tensor) -> Tensor:
    """Patches by asking the layer itself, weight after weight [out, n, positions], float64."""
    probe = copy.deepcopy(layer).double()
    if probe.bias is not None:
        nn.init.zeros_(probe.bias)
    found = []
    rows = probe.weight.numel() // _outputs(layer)
    for index in range(rows):
        one = torch.zeros(_outputs(layer), rows, dtype=torch.float64)
        one[:, index] = 1
        with torch.no_grad():
            probe.weight.copy_(weight(probe, one))
            found.append(maps(layer, probe(x.double())).movedim(1, 0).flatten(1))
    return torch.stack(found, 1)


def _outputs(layer: nn.Module) -> int:
    size = getattr(layer, "out_channels", None) or layer.out_features
    assert isinstance(size, int)
    return size
