"""Patterns of a table: what they match, and that each matches something, whatever the step."""

from collections.abc import Callable

import pytest
from torch import nn

from compress import names
from compress.quantization import codebook
from compress.rnn import columns
from compress.rnn.factorise import Factorisation
from compress.stages import lowrank
from device.errors import BadInputError
from models.resnet import ResNet
from tests.compress.rnn import texts


def test_patterns_are_those_of_files() -> None:
    known = ["stem.conv", "blocks.0.conv", "blocks.1.conv", "classifier"]
    assert names.matching(["blocks.*", "classifier"], known) == set(known[1:])
    assert names.matching([], known) == frozenset()
    with pytest.raises(BadInputError, match=r'no layer is called "block"; there are stem\.conv, b'):
        names.matching(["stem.conv", "block"], known)


def test_layers_are_what_holds_weights() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 1))
    assert names.layers(net) == ["0.0", "1"]


def _code(net: nn.Module, keep: list[str]) -> object:
    return codebook.code(net, {}, entries=4, vector=1, keep=keep, seed=0)


@pytest.mark.parametrize(
    ("make", "step"),
    [
        (lambda: ResNet(8, 4, 8), lowrank.candidates),
        (lambda: ResNet(8, 4, 8), _code),
        (texts.network, columns.sides),
        (texts.network, Factorisation),
    ],
)
def test_a_keep_that_matches_nothing_is_refused(
    make: Callable[[], nn.Module], step: Callable[[nn.Module, list[str]], object]
) -> None:
    with pytest.raises(BadInputError, match='no layer is called "layer"'):
        step(make(), ["layer"])
