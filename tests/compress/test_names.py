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


def test_weights_are_kernels_and_matrices_recurrent_ones_too() -> None:
    net = nn.ModuleDict(
        {"lstm": nn.LSTM(3, 4), "norm": nn.LayerNorm((2, 2)), "out": nn.Linear(4, 2)}
    )
    found = names.weights(net)
    assert list(found) == ["lstm.weight_ih_l0", "lstm.weight_hh_l0", "out"]
    assert [layer for layer, _ in found.values()] == ["lstm", "lstm", "out"]
    assert found["out"][1] is net["out"].weight
    language = texts.network()
    matrices = [p for p in language.parameters() if p.ndim > 1]
    found = names.weights(language)
    assert "layers.0.h.matrices.0.factors.0" in found
    assert [id(values) for _, values in found.values()] == [id(values) for values in matrices]
    assert {layer for layer, _ in found.values()} == set(names.layers(language))


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
