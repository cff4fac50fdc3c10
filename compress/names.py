"""Layers by name: those that a step's table means, by patterns, as of files; all names of one."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from device.errors import BadInputError


def matching(patterns: Iterable[str], names: Iterable[str]) -> frozenset[str]:
    """The names that the patterns of a `keep` match.

    Raises:
        BadInputError: a pattern matches none.
    """
    known, found = list(names), set[str]()
    for pattern in patterns:
        own = {name for name in known if fnmatchcase(name, pattern)}
        if not own:
            raise BadInputError(
                f'keep: no layer is called "{pattern}"; there are {", ".join(filter(None, known))}'
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


def replace(net: nn.Module, name: str, other: nn.Module) -> None:
    """Put another module in the place of one, in place, under every name that it has."""
    module = net.get_submodule(name)
    every = [own for own, found in net.named_modules(remove_duplicate=False) if found is module]
    for own in every:
        net.set_submodule(own, other)
