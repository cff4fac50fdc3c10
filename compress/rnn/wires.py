"""Which matrices read the units of a recurrent layer, found by running the network.

A reader is a matrix all of whose input vectors are output vectors of the layer, value by value:
in evaluation mode dropout is away, and reshapes, transposes and slices over time keep vectors.
A reader that sees anything else (a sum, a concatenation) is not found; the proof of masked against
removed networks (compress/rnn/proof.py) then refuses the plan, or units that looked dead stay.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from compress.passes import first
from compress.resting import resting
from compress.rnn.adopt import recurrent
from compress.rnn.forms import columns_read
from models.projections import Projection, Table
from models.recurrent import Recurrent

Reader = Projection | nn.Linear
TABLE = ".x"  # a tied table's matrix: table.x is read by the embedding of the table, too
Rows = set[bytes]  # of `vectors`


def readers(net: nn.Module, example: Tensor) -> dict[str, list[str]]:
    """Recurrent layer → names of the matrices that read its output, from one forward pass.

    A tied table that reads a layer hands on what it lost: its embedding's readers follow.
    """
    layers = recurrent(net)
    tables = {name: table for name, table in net.named_modules() if isinstance(table, Table)}
    own = {id(layer.h) for layer in layers.values()}
    candidates = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, Projection | nn.Linear) and id(module) not in own
    }
    written: dict[str, Rows] = {name: set() for name in (*layers, *tables)}
    read: dict[str, Rows] = {name: set() for name in candidates}
    hooks = [
        layer.register_forward_hook(_outputs(written[name]))
        for name, layer in (*layers.items(), *tables.items())
    ]
    hooks += [
        module.register_forward_pre_hook(_inputs(read[name]), with_kwargs=True)
        for name, module in candidates.items()
    ]
    try:
        with resting(net), torch.no_grad():
            net(example)
    finally:
        for hook in hooks:
            hook.remove()
    found = {
        name: [reader for reader, rows in read.items() if rows and rows <= outputs]
        for name, outputs in written.items()
    }
    for name in layers:
        tied = [table for table in tables if f"{table}{TABLE}" in found[name]]
        found[name] += [reader for table in tied for reader in found[table]]
    return {name: found[name] for name in layers}


def _outputs(found: Rows) -> Callable[..., None]:
    def note(_layer: nn.Module, _inputs: Any, output: Any) -> None:
        found.update(vectors(output if isinstance(output, Tensor) else output[0]))

    return note


def _inputs(found: Rows) -> Callable[..., None]:
    def note(_layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        x = first(inputs, named)
        found.update(vectors(x))

    return note


def vectors(value: Tensor) -> list[bytes]:
    """Every vector along the last axis, as what it is compared by."""
    return [row.tobytes() for row in value.detach().cpu().reshape(-1, value.shape[-1]).numpy()]


def dead(net: nn.Module, wires: dict[str, list[str]]) -> dict[str, Tensor]:
    """Units that no known reader reads any more, by layer: neither own gates nor those behind."""
    modules, found = dict(net.named_modules()), {}
    for name, behind in wires.items():
        layer = modules[name]
        assert isinstance(layer, Recurrent)
        used = torch.zeros(layer.units, dtype=torch.bool)
        for side in (layer.h, *(modules[reader] for reader in behind)):
            if isinstance(side, Projection):
                used[torch.cat(columns_read(side))] = True
            else:
                used[:] = True
        if behind and not used.all():
            found[name] = (~used).nonzero()[:, 0]
    return found
