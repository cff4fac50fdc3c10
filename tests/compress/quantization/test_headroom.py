"""Filters and layers of zeros in integers: as near to float as others."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from compress.quantization import flatbuffer, headroom, quantize, ranges, schemes, sqnr
from compress.steps import Quantize
from tests.compress.quantization.test_write import _one_step, _relative


def layer(kind: str) -> nn.Module:
    return {
        "linear": lambda: nn.Linear(8, 8),
        "conv": lambda: nn.Conv2d(8, 8, 3),
        "depthwise": lambda: nn.Conv2d(8, 16, 3, groups=8),
        "transposed": lambda: nn.ConvTranspose2d(8, 8, 2, 2),
    }[kind]()


@torch.no_grad()
def network(kind: str, weight: float) -> nn.Module:
    """One channel of the first layer has weights of one value and a bias of 1."""
    torch.manual_seed(0)
    first = layer(kind)
    channel = first.weight[:, 3] if kind == "transposed" else first.weight[3]
    channel.fill_(weight)
    first.bias[3] = 1
    last = nn.Linear(8, 8) if kind == "linear" else nn.Conv2d(len(first.bias), 8, 1)
    return nn.Sequential(first, nn.ReLU(), last)


@pytest.mark.parametrize("scheme", ["static-int8", "static-int16x8"])
@pytest.mark.parametrize("weight", [0.0, 1e-12])
@pytest.mark.parametrize(
    ("kind", "operator"),
    [
        ("linear", "FULLY_CONNECTED"),
        ("conv", "CONV_2D"),
        ("depthwise", "DEPTHWISE_CONV_2D"),
        ("transposed", "TRANSPOSE_CONV"),
    ],
)
def test_a_channel_that_is_its_bias_alone(
    tmp_path: Path, kind: str, operator: str, weight: float, scheme: str
) -> None:
    plain, made = tmp_path / "float.tflite", tmp_path / "int.tflite"
    shape = (4, 8) if kind == "linear" else (1, 8, 6, 6)
    fed = _one_step(network(kind, weight), shape, plain)
    assert operator in {one.name for one in flatbuffer.read(plain)}
    numbers = Quantize.model_validate({"kind": "quantize", "scheme": scheme})
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        quantize(plain, numbers, fed, made)
    assert 0 < _relative(plain, made, fed) < 0.03


@pytest.mark.parametrize("scheme", ["static-int8", "static-int16x8"])
@pytest.mark.parametrize("biases", [(1.0, 1e-4), (1e-4, 1.0)])
def test_a_weight_of_two_layers_has_room_for_both_biases(
    tmp_path: Path, biases: tuple[float, float], scheme: str
) -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    with torch.no_grad():
        first.weight[3] = 1e-12
        for part, bias in zip((first, second), biases, strict=True):
            part.bias[3] = bias
    plain, made = tmp_path / "float.tflite", tmp_path / "int.tflite"
    fed = _one_step(nn.Sequential(first, nn.ReLU(), second), (4, 8), plain)
    stored = {operator.weights[0].place for operator in flatbuffer.read(plain) if operator.weights}
    assert len(stored) == 1
    numbers = Quantize.model_validate({"kind": "quantize", "scheme": scheme})
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        errors = quantize(plain, numbers, fed, made).errors
    assert min(error.sqnr_db for error in errors) > 30


@pytest.mark.parametrize("scheme", ["static-int8", "static-int16x8", "mixed-int8"])
def test_a_layer_that_answers_zeros(tmp_path: Path, scheme: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    nn.init.constant_(net[0].bias, -100)  # type: ignore[arg-type]
    plain, made = tmp_path / "float.tflite", tmp_path / "int.tflite"
    fed = _one_step(net, (4, 8), plain)
    numbers = Quantize.model_validate({"kind": "quantize", "scheme": scheme})
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        errors = quantize(plain, numbers, fed, made).errors
    assert errors[0].sqnr_db == sqnr.EXACT and min(error.sqnr_db for error in errors) > 40


def test_weights_that_need_no_other_range_keep_their_own(tmp_path: Path) -> None:
    plain = tmp_path / "float.tflite"
    fed = _one_step(network("conv", 0.5), (1, 8, 6, 6), plain)
    found = ranges.observe(plain, schemes.static(8), fed)
    assert headroom.given(plain, found, 8) == found


def test_noise_where_nothing_was_has_a_figure() -> None:
    assert sqnr._decibels(0.0, 1e-9) == sqnr._decibels(1e-300, 1e30) == -sqnr.EXACT
