"""Units of recurrent layers: scores, masks, and physical removal with everything that reads them.

A unit is one entry of a layer's output. With its rows of W_x, W_h and bias at zero it stays at
zero for ever (its candidate is tanh 0), so a masked unit and a removed one are the same, provided
that its readers lose the same columns (compress/rnn/wires.py).

    l1          Σ|w| over the unit's rows of all gates
    influence   EMA(.98) of Σ|w·∂L/∂w| over these rows
    random      the control
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from compress.rnn.adopt import recurrent
from compress.rnn.influence import influence
from compress.task import Task
from device.errors import FieldwrenError
from models.projections import Matrix, Projection
from models.recurrent import GATES, Recurrent

Score = Callable[[nn.Module, Task, int], dict[str, Tensor]]  # layer → [units]
Removed = Mapping[str, Tensor]  # layer → units [k] that go, ascending


def by_l1(net: nn.Module, task: Task, seed: int) -> dict[str, Tensor]:
    """Σ|w| of every unit's rows."""
    return {
        name: sum_rows(layer, layer.x.dense().detach().abs(), layer.h.dense().detach().abs())
        for name, layer in recurrent(net).items()
    }


def by_influence(net: nn.Module, task: Task, seed: int) -> dict[str, Tensor]:
    """Moving average of Σ|w·∂L/∂w| over every unit's rows."""
    found = influence(net, task, seed)
    return {
        name: sum_rows(layer, found[f"{name}.x"], found[f"{name}.h"])
        for name, layer in recurrent(net).items()
    }


def by_chance(net: nn.Module, task: Task, seed: int) -> dict[str, Tensor]:
    """Uniform."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(layer.units, generator=random) for name, layer in recurrent(net).items()
    }


SCORES: dict[str, Score] = {"l1": by_l1, "influence": by_influence, "random": by_chance}


def sum_rows(layer: Recurrent, *values: Tensor) -> Tensor:
    """Values of the weights of both sides → their sums over gates and columns [units]."""
    gates = GATES[layer.kind]
    return torch.stack([v.reshape(gates, layer.units, -1).sum((0, 2)) for v in values]).sum(0)


def lowest(scores: Tensor, ratio: float, round_to: int) -> Tensor:
    """The units [k] that go: at least one multiple of `round_to` stays, or all there are."""
    units = len(scores)
    wanted = round(units * (1 - ratio) / round_to) * round_to
    kept = min(units, max(wanted, min(round_to, units)))
    return scores.cpu().argsort(stable=True)[: units - kept].sort().values


def mask(net: nn.Module, wires: Mapping[str, list[str]], removed: Removed) -> nn.Module:
    """Zero the rows and biases of units in place; returns the network.

    Columns of readers are zeroed as well: what reads zeros needs none, but a tied table is read by
    its embedding, too.
    """
    layers, modules = recurrent(net), dict(net.named_modules())
    with torch.no_grad():
        for name, units in removed.items():
            layer = layers[name]
            for side in (layer.x, layer.h):
                weight = side.dense().view(side.groups, -1, side.inputs).clone()
                weight[:, units] = 0
                side.store([Matrix(side.inputs, [weight.flatten(0, 1)])])
            layer.bias.view(GATES[layer.kind], -1)[:, units] = 0
            if layer.candidate is not None:
                layer.candidate[units] = 0
            for side in (modules[reader] for reader in wires[name]):
                if isinstance(side, Projection):
                    weight = side.dense().clone()
                    weight[:, units] = 0
                    side.store([Matrix(side.inputs, [weight])])
    return net


def remove(net: nn.Module, wires: Mapping[str, list[str]], removed: Removed) -> nn.Module:
    """Cut units out of their layers and of what reads them, in place; returns the network.

    Raises:
        FieldwrenError: what reads them is tied to another layer; the network is then as it was.
    """
    refuse_ties(net, wires, removed)
    layers, modules = recurrent(net), dict(net.named_modules())
    for name, units in removed.items():
        layer = layers[name]
        kept = _others(units, layer.units)
        gates = GATES[layer.kind]
        layer.x.store(_rows(layer.x, kept))
        layer.h.store(_rows(layer.h, kept))
        layer.h.store(_columns(layer.h, kept))
        candidate = None if layer.candidate is None else layer.candidate.detach()[kept]
        layer.hold(layer.bias.detach().view(gates, -1)[:, kept].flatten(), candidate)
        for reader in wires[name]:
            module = modules[reader]
            if isinstance(module, nn.Linear):
                weight = module.weight.detach()[:, kept].contiguous()
                module.weight = nn.Parameter(weight, module.weight.requires_grad)
                module.in_features = len(kept)
            else:
                assert isinstance(module, Projection)
                module.store(_columns(module, kept))
    return net


def refuse_ties(net: nn.Module, wires: Mapping[str, list[str]], names: Iterable[str]) -> None:
    """See that no linear layer behind these recurrent ones has its weight in common with another
    layer, as with an embedding: that one would keep its columns, and the two part.

    Raises:
        FieldwrenError: one has.
    """
    modules = dict(net.named_modules())
    held = list(net.named_parameters(remove_duplicate=False))
    behind = [(name, reader) for name in names for reader in wires[name]]
    for layer, reader in behind:
        module = modules[reader]
        for other, values in held if isinstance(module, nn.Linear) else ():
            holder = net.get_submodule(other.rpartition(".")[0])
            if holder is not module and values.data_ptr() == module.weight.data_ptr():
                raise FieldwrenError(
                    f"{layer}: units cannot go: {reader}.weight and {other} are one parameter: "
                    "name the layer in keep, or give one of them its own"
                )


def _others(units: Tensor, count: int) -> Tensor:
    stays = torch.ones(count, dtype=torch.bool)
    stays[units] = False
    return stays.nonzero()[:, 0]


def _rows(side: Projection, kept: Tensor) -> list[Matrix]:
    """The matrices with rows of every gate taken out."""
    found = []
    for part in side.parts:
        first, *others = [factor.detach() for factor in part.factors]
        groups = side.groups // len(side.parts)  # gates in this matrix
        first = first.view(groups, len(first) // groups, -1)[:, kept].flatten(0, 1)
        found.append(Matrix(part.inputs, [first.contiguous(), *others], part.columns))
    return found


def _columns(side: Projection, kept: Tensor) -> list[Matrix]:
    """The matrices of vectors that lost entries; a gather keeps what is left of it, renumbered.

    What has nothing left reads zero times one entry, if it can one that the others read: a product
    over no columns is not to be had in the runtime.
    """
    place = torch.full((side.inputs,), -1)
    place[kept] = torch.arange(len(kept))
    read = [place if part.columns is None else place[part.columns] for part in side.parts]
    spare = next((own[own >= 0][:1] for own in read if (own >= 0).any()), torch.tensor([0]))
    found = []
    for part, own in zip(side.parts, read, strict=True):
        *others, last = [factor.detach() for factor in part.factors]
        stays, columns = own >= 0, own[own >= 0]
        last = last[:, stays].contiguous()
        if not len(columns):
            last, columns = last.new_zeros(len(last), 1), spare.clone()
        found.append(Matrix.reading(len(kept), [*others, last], columns))
    return found
