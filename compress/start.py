"""Weights that training goes on from: a recipe's [model] names a file of them.

They are a safetensors file of a network's state_dict. `models/zoo/weights/` has those that come
with the repository; a file of the same name in the user's data folder wins.
"""

import hashlib
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from compress.tasks import locate
from device.errors import BadInputError

SHIPPED = Path(__file__).parents[1] / "models" / "zoo" / "weights"


@runtime_checkable
class Widening(Protocol):
    """A network that can go on from one with less in its `growing` layers."""

    growing: frozenset[str]

    def widened(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The narrower one's weights as its own, for the same answers."""
        ...


def find(name: str | None, folders: tuple[Path, ...]) -> Path | None:
    """The file, or None if the recipe names none.

    Raises:
        BadInputError: there is no such file.
    """
    if name is None:
        return None
    return locate(name, (*folders, SHIPPED), "the weights that model.start names")


def load(net: nn.Module, path: Path) -> None:
    """Put the weights into a network of the same form, or of a wider one that can be widened to.

    Raises:
        BadInputError: no safetensors file, or another network's weights.
    """
    try:
        state = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise BadInputError(f"{path}: no weights in safetensors form: {error}") from error
    own = {name: value.shape for name, value in net.state_dict().items()}
    other = {name: value.shape for name, value in state.items()}
    if isinstance(net, Widening) and _fits(other, own, net.growing):
        state = net.widened(state)
    elif own != other:
        odd = min(name for name in own.keys() | other.keys() if own.get(name) != other.get(name))
        sizes = " and ".join(str(list(s[odd])) if odd in s else "none" for s in (other, own))
        raise BadInputError(
            f"{path}: weights of another network: {odd} is {sizes} in the recipe's [model]"
        )
    with torch.no_grad():
        net.load_state_dict(state)


def _fits(
    narrow: Mapping[str, torch.Size], wide: Mapping[str, torch.Size], growing: frozenset[str]
) -> bool:
    """Is every tensor of the one that of the other, or a part of it in a layer that may grow?"""
    return narrow.keys() == wide.keys() and all(
        shape == wide[name]
        or (name.split(".")[-2] in growing and all(map(operator.le, shape, wide[name])))
        for name, shape in narrow.items()
    )


def fingerprint(data: str, path: Path) -> str:
    """Of the training data and the weights together: what the result is made from."""
    return hashlib.sha256(data.encode() + path.read_bytes()).hexdigest()
