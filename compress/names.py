"""Layers by name: those that a step's table means, by patterns, as of files; all names of one."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from device.errors import BadInputError
from models.projections import Matrix

KNOWN = (nn.modules.conv._ConvNd, nn.Linear, nn.RNNBase, nn.RNNCellBase)


def matching(
    patterns: Iterable[str], names: Iterable[str], key: str = "keep", kind: str = "layer"
) -> frozenset[str]:
    """The names that the patterns of a `keep` match, or of another key of a table.

    Raises:
        BadInputError: a pattern matches none.
    """
    known, found = list(names), set[str]()
    for pattern in patterns:
        own = {name for name in known if fnmatchcase(name, pattern)}
        if not own:
            raise BadInputError(
                f'{key}: no {kind} is called "{pattern}"; '
                f"there are {', '.join(filter(None, known))}"
            )
        found |= own
    return frozenset(found)


def layers(net: nn.Module) -> list[str]:
    """Names of what holds parameters itself, in order."""
    return [
        name
        for name, module in net.named_modules()
        if any(True for _ in module.parameters(recurse=False)) and not any(module.children())
    ]


def weights(net: nn.Module) -> dict[str, tuple[str, nn.Parameter]]:
    """Every kernel and matrix, recurrent ones too: its layer, as in `layers`, and its values.

    They are called like their layers; one of several, as in "lstm.weight_hh_l0", by its own name.
    """
    found = {}
    for name, values in net.named_parameters():
        layer = name.rpartition(".")[0]
        holders = net.get_submodule(layer), net.get_submodule(layer.rpartition(".")[0])
        known = isinstance(holders[0], KNOWN) or isinstance(holders[1], Matrix)
        if known and values.ndim > 1:
            found[name.removesuffix(".weight")] = layer, values
    return found


def replace(net: nn.Module, name: str, other: nn.Module) -> None:
    """Put another module in the place of one, in place, under every name that it has."""
    module = net.get_submodule(name)
    every = [own for own, found in net.named_modules(remove_duplicate=False) if found is module]
    for own in every:
        net.set_submodule(own, other)
