"""One pass of a network of any form: its inputs in order, its answer as a list of tensors."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as trees

from device.errors import BadInputError, FieldwrenError

Example = Tensor | tuple[Any, ...]  # the input of one pass, or all its inputs in order


def inputs(example: Example) -> tuple[Any, ...]:
    """What to call the network with.

    Raises:
        BadInputError: a list, which may be meant as all inputs or as the first.
    """
    given: object = example
    if isinstance(given, list):
        raise BadInputError(
            "example: a list is no input: give the tensor, a tuple of all inputs, (a, b), or of "
            "the list, ([a, b],), where the network takes one"
        )
    return example if isinstance(example, tuple) else (example,)


def first(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """The first input of a layer's call, by position or by name: `layer(x)`, `layer(input=x)`.

    For hooks that are registered `with_kwargs=True`; without, they see inputs by position alone.
    """
    return arguments[0] if arguments else next(iter(named.values()))


def exact(example: Example) -> Example:
    """The same with float64 for all floating-point tensors; all else stays what it is."""
    found: Example = trees.tree_map(
        lambda leaf: leaf.double() if _real(leaf) and leaf.is_floating_point() else leaf, example
    )
    return found


def answers(outputs: object) -> list[Tensor]:
    """The tensors of numbers in an answer: one, or any nest of tuples, lists and dicts.

    Raises:
        FieldwrenError: there is none.
    """
    found = [leaf for leaf in trees.tree_leaves(outputs) if _real(leaf)]
    if not found:
        raise FieldwrenError(
            f"the network answers with a {type(outputs).__name__} in which no tensor of real "
            "numbers is found: let it return tensors, or tuples, lists or dicts of them"
        )
    return found


def _real(leaf: object) -> bool:
    """Real or complex numbers, that is, nothing that counts or decides."""
    return isinstance(leaf, Tensor) and (torch.is_floating_point(leaf) or torch.is_complex(leaf))
