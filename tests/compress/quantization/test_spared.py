"""Layers that suffer most from eight bits, found or named, keep more of them."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from compress import export
from compress.quantization import inspect, mixed, quantize
from compress.steps import Quantize
from device.errors import BadInputError
from tests.compress.quantization.conftest import Converted

LOPSIDED = "net.layers.1.expand.conv"


@pytest.mark.parametrize("scheme", ["dynamic-int8", "static-int8"])
def test_named_layers_stay_float16(lopsided: Converted, tmp_path: Path, scheme: str) -> None:
    path = lopsided.quantized(tmp_path / "m.tflite", scheme, keep=["*.expand.conv"])
    halves = {layer.name for layer in inspect(path).layers if layer.weight == "FLOAT16"}
    assert LOPSIDED in halves and all(name.endswith("expand.conv") for name in halves)
    assert inspect(path).weights == {"INT8": 8 - len(halves), "FLOAT16": len(halves)}
    plain = lopsided.quantized(tmp_path / "int8.tflite", scheme)
    expected = lopsided.answers(lopsided.plain)
    better, worse = (((lopsided.answers(p) - expected) ** 2).mean() for p in (path, plain))
    assert better < 0.5 * worse  # int8 activations stay in the static scheme
    with pytest.raises(BadInputError, match=r"no layer matches 'head'; there are .*expand\.conv"):
        lopsided.quantized(tmp_path / "n.tflite", scheme, keep=["head"])
    assert not (tmp_path / "n.tflite").exists()
    with pytest.raises(ValidationError, match="keep is for schemes with int8 weights"):
        Quantize(kind="quantize", scheme="fp16", keep=("*",))


def test_the_worst_layers_are_spared_within_the_budget() -> None:
    errors, sizes = [0.1, 0.5, 0.4, 0.3, 0.01], [100, 50, 600, 150, 100]
    assert mixed.choose(errors, sizes, 0.2) == {1, 3}  # the second worst does not fit
    assert mixed.choose(errors, sizes, 0.0) == set()
    assert mixed.choose(errors, sizes, 1.0) == {0, 1, 2, 3}  # the last is not worth it


@pytest.fixture(scope="module")
def lopsided(converted: Converted, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """One layer whose every filter has a weight so large that int8 leaves the others few steps."""
    net = copy.deepcopy(converted.deployed.net)
    with torch.no_grad():
        net.get_parameter("net.layers.0.norm.weight")[0] /= 200
        net.get_parameter("net.layers.0.norm.bias")[0] /= 200
        net.get_parameter(f"{LOPSIDED}.weight")[:, 0] *= 200
    deployed = dataclasses.replace(converted.deployed, net=net)
    path = tmp_path_factory.mktemp("lopsided") / "float.tflite"
    export.convert(deployed, path)
    return Converted(deployed, path, converted.examples)


@pytest.mark.parametrize(("high", "kind"), [("fp32", "FLOAT32"), ("fp16", "FLOAT16")])
def test_mixed_precision_finds_the_layer_that_suffers(
    lopsided: Converted, tmp_path: Path, high: str, kind: str
) -> None:
    table = {"kind": "quantize", "scheme": "mixed-int8", "spare": 0.4, "high": high}
    path = tmp_path / "m.tflite"
    made = quantize(lopsided.plain, Quantize.model_validate(table), lopsided.examples, path)
    spared = [one for one in made.sensitivities if one.spared]
    assert len(made.sensitivities) == 8
    assert max(made.sensitivities, key=lambda one: one.error).layer == LOPSIDED
    assert LOPSIDED in [one.layer for one in spared]
    total = sum(one.weights for one in made.sensitivities)
    assert sum(one.weights for one in spared) <= 0.4 * total
    assert made.audit.weights == {"INT8": 8 - len(spared), kind: len(spared)}
    plain = lopsided.quantized(tmp_path / "int8.tflite", "static-int8")
    expected = lopsided.answers(lopsided.plain)
    better, worse = (((lopsided.answers(p) - expected) ** 2).mean() for p in (path, plain))
    assert better < 0.2 * worse
    assert len(made.figures) == 2


def test_layers_in_sixteen_bits_stay_integer(converted: Converted, tmp_path: Path) -> None:
    numbers = Quantize(kind="quantize", scheme="mixed-int8", spare=0.5, high="int16x8")
    made = quantize(converted.plain, numbers, converted.examples, tmp_path / "m.tflite")
    assert made.audit.weights == {"INT8": 8} and made.audit.floating == ()
    spared = {one.layer for one in made.sensitivities if one.spared}
    wide = {layer.name for layer in made.audit.layers if "INT16" in (layer.input, layer.output)}
    assert spared and spared <= wide
