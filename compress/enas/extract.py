"""From a trained child to a physically small network.

channel sets   what fake pruning leaves of the calibration images, taken as one batch:
               the largest mean |feature map| over them                                 [C]
removal        models/enas/narrow.py, after proof that the masked child computes the same
recalibration  batch norm's statistics of what is left, as means over training batches  [C]
"""

import copy
from collections.abc import Iterable, Mapping

import torch
from pydantic import JsonValue
from torch import Tensor

from compress.enas.fake import FakePruning, Mask
from compress.prune import AGREEMENT
from compress.task import Batch
from device.errors import FieldwrenError
from models.enas import Enas, Place
from models.enas.layout import Kept
from models.enas.narrow import narrow


def channels(net: Enas, batches: Iterable[Batch], examples: int) -> Kept:
    """What stays at every place, by the architecture's ratios, from about so many examples."""
    parts: list[Tensor] = []
    for batch in batches:
        parts.append(batch[0])
        if sum(map(len, parts)) >= examples:
            break
    fake = FakePruning()
    net.eval()
    with torch.no_grad():
        device = next(net.parameters()).device
        net(torch.cat(parts)[:examples].to(device), fake=fake)
    return fake.kept


def remove(net: Enas, kept: Kept, example: Tensor) -> float:
    """Narrow `net` in place; returns the largest |masked − removed|, computed in float64.

    Raises:
        FieldwrenError: the two differ; `net` is then untouched.
    """
    exact = copy.deepcopy(net).double().eval()
    with torch.no_grad():
        masked = exact(example.double(), fake=Mask(kept))
        narrow(exact, kept)
        error = float((exact(example.double()) - masked).abs().max())
    if not error <= AGREEMENT:
        raise FieldwrenError(
            f"masked and removed networks differ by {error:.2g}, allowed {AGREEMENT:.0e}"
        )
    narrow(net, kept)
    return error


def as_json(kept: Kept) -> JsonValue:
    """Channel sets as they are stored: "layer.node.side.part" → channels."""
    return {".".join(map(str, place)): list(channels) for place, channels in kept.items()}


def from_json(stored: JsonValue) -> Kept:
    """Channel sets from their stored form."""
    assert isinstance(stored, Mapping)
    found: dict[Place, tuple[int, ...]] = {}
    for name, values in stored.items():
        layer, node, side, part = name.split(".")
        assert isinstance(values, list)
        found[Place(int(layer), int(node), side, part)] = tuple(int(str(v)) for v in values)
    return found
