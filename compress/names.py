"""Layers that a step's table names: by patterns, as of files."""

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
