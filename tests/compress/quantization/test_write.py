"""Every scheme as a file: near float, as small as it says, with the error of each layer."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from compress import export
from compress.quantization import SCHEMES, Example, check, inspect, mixed, quantize, sqnr
from compress.steps import Quantize
from compress.task import OneStep
from device.errors import BadInputError, FieldwrenError
from device.runtime import Runtime
from tests.compress.quantization.conftest import Converted

LOPSIDED = "net.layers.1.expand.conv"


def _answers(path: Path, converted: Converted) -> np.ndarray:
    runtime = Runtime(path)
    return np.stack([runtime(example)["output_0"] for example in converted.examples])


@pytest.mark.parametrize(
    ("scheme", "size", "error"),
    [
        ("fp16", 0.75, 2e-3),
        ("weight-int8", 0.7, 0.1),
        ("dynamic-int8", 0.7, 0.1),
        ("static-int8", 0.7, 0.1),
    ],
)
def test_schemes_are_near_float_and_smaller(
    converted: Converted, tmp_path: Path, scheme: str, size: float, error: float
) -> None:
    path = converted.quantized(tmp_path / "m.tflite", scheme)
    expected, got = _answers(converted.plain, converted), _answers(path, converted)
    assert 0 < np.sqrt(((got - expected) ** 2).mean()) < error * expected.std()
    assert path.stat().st_size < size * converted.plain.stat().st_size
    assert check(path, SCHEMES[scheme]).weights == {SCHEMES[scheme].weights: 8}


def test_sixteen_bit_activations_leave_only_the_weights_error(
    converted: Converted, int8: Path, tmp_path: Path
) -> None:
    path = converted.quantized(tmp_path / "m.tflite", "static-int16x8")
    assert {layer.input for layer in inspect(path).layers} == {"INT16"}
    expected = _answers(converted.plain, converted)
    wide, narrow = (((_answers(p, converted) - expected) ** 2).mean() for p in (path, int8))
    assert wide < 0.7 * narrow


def test_layer_errors_are_those_of_the_tensors(converted: Converted, int8: Path) -> None:
    """The last layer's figure against the answers themselves, by the plain kernels."""
    examples = converted.examples[:5]
    errors = sqnr.layers(converted.plain, int8, examples)
    assert [error.operator for error in errors].count("DEPTHWISE_CONV_2D") == 2
    x, q = (
        np.stack([Runtime(path, delegate="none")(e)["output_0"] for e in examples]).astype(float)
        for path in (converted.plain, int8)
    )
    assert errors[-1].operator == "FULLY_CONNECTED"
    assert errors[-1].sqnr_db == pytest.approx(
        10 * np.log10((x**2).sum() / ((x - q) ** 2).sum()), abs=1e-3
    )
    assert errors[0].sqnr_db > errors[-1].sqnr_db  # noise adds up
    assert all(10 < error.sqnr_db < 60 for error in errors)
    same = sqnr.layers(converted.plain, converted.plain, examples[:1])
    assert {error.sqnr_db for error in same} == {sqnr.EXACT}
    drawn = sqnr.figure(errors)
    assert sum(len(series.x) for series in drawn.series) == len(errors)


class Step(nn.Module):
    """One frame of an LSTM, its state explicit, as it is deployed."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.recall = nn.Linear(40, 4 * 64), nn.Linear(64, 4 * 64, bias=False)
        self.answer = nn.Linear(64, 20)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        i, f, g, o = (self.read(x) + self.recall(h)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return self.answer(h), h, c


def test_an_lstm_goes_to_dynamic_int8_with_all_its_matrices(tmp_path: Path) -> None:
    torch.manual_seed(0)
    examples = [
        {name: torch.randn(1, size).numpy() for name, size in (("x", 40), ("h", 64), ("c", 64))}
        for _ in range(8)
    ]
    names = {"y": "", "h": "", "c": ""}
    step = OneStep(
        net=Step().eval(), inputs=dict.fromkeys("xhc", ""), outputs=names, examples=examples
    )
    plain, int8 = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    export.convert(step, plain)
    fed = export.by_key(step, examples)
    numbers = Quantize(kind="quantize", scheme="dynamic-int8")
    made = quantize(plain, numbers, fed, int8)
    assert made.audit.weights == {"INT8": 3}
    assert {layer.scales for layer in made.audit.layers} == {256, 20}
    assert int8.stat().st_size < 0.45 * plain.stat().st_size
    mixed_numbers = Quantize(kind="quantize", scheme="mixed-int8")  # XNNPACK loses a state
    with pytest.raises(BadInputError, match=r"mixed-int8 is not for this model: .*; dynamic-int8"):
        quantize(plain, mixed_numbers, fed, tmp_path / "mixed.tflite")
    for scheme in ("static-int8", "static-int16x8"):  # states are outputs, which stay float
        whole = Quantize.model_validate({"kind": "quantize", "scheme": scheme})
        with pytest.raises(
            FieldwrenError, match=r"FLOAT32 where INT\d+ is wanted: take dynamic-int"
        ):
            quantize(plain, whole, fed, tmp_path / "static.tflite")
    for key in ("output_0", "output_1", "output_2"):
        x, q = (np.stack([Runtime(p)(e)[key] for e in fed]) for p in (plain, int8))
        assert 0 < np.sqrt(((q - x) ** 2).mean()) < 0.02 * x.std()


class Wider(nn.Module):
    """A convolution, and one that makes more frames of few."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv1d(8, 16, 3, padding=1)
        self.widen = nn.ConvTranspose1d(16, 8, 4, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.widen(torch.relu(self.narrow(x)))
        return y


class Banded(nn.Module):
    """A matrix for each of four bands."""

    def __init__(self) -> None:
        super().__init__()
        self.bands, self.answer = nn.Parameter(torch.randn(4, 40, 64)), nn.Linear(64, 24)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.answer(torch.relu(x @ self.bands))
        return y


def _one_step(net: nn.Module, shape: tuple[int, ...], plain: Path) -> list[Example]:
    """The network as a float file; inputs by its keys."""
    examples = [{"x": torch.randn(shape).numpy()} for _ in range(8)]
    step = OneStep(net=net.eval(), inputs={"x": ""}, outputs={"y": ""}, examples=examples)
    export.convert(step, plain)
    return export.by_key(step, examples)


def _relative(plain: Path, other: Path, fed: list[Example]) -> float:
    x, q = (np.stack([Runtime(path)(e)["output_0"] for e in fed]) for path in (plain, other))
    return float(np.sqrt(((q - x) ** 2).mean()) / x.std())


MIXED = {"scheme": "mixed-int8", "spare": 0.9}


@pytest.mark.parametrize(
    ("table", "kept"),
    [
        ({"scheme": "mixed-int8", "spare": 0.0}, "INT8"),
        (MIXED | {"high": "fp32"}, "FLOAT32"),
        (MIXED | {"high": "fp16"}, "FLOAT16"),
        (MIXED | {"high": "int16x8"}, "INT8"),
        ({"scheme": "static-int8", "keep": ["widen"]}, "FLOAT16"),
        ({"scheme": "dynamic-int8", "keep": ["widen"]}, "FLOAT16"),
        ({"scheme": "weight-int8"}, "INT8"),
    ],
)
def test_transposed_convolutions_may_have_numbers_of_their_own(
    tmp_path: Path, table: dict[str, object], kept: str
) -> None:
    """The quantizer calls this operation otherwise than the file."""
    torch.manual_seed(0)
    net = Wider()
    with torch.no_grad():
        net.widen.weight[:, :, :2] *= 50  # the layer that suffers
    fed = _one_step(net, (1, 8, 32), tmp_path / "float.tflite")
    numbers = Quantize.model_validate({"kind": "quantize", **table})
    made = quantize(tmp_path / "float.tflite", numbers, fed, tmp_path / "m.tflite")
    layers = {layer.operator: layer for layer in made.audit.layers}
    assert (layers["CONV_2D"].weight, layers["TRANSPOSE_CONV"].weight) == ("INT8", kept)
    error = _relative(tmp_path / "float.tflite", tmp_path / "m.tflite", fed)
    assert 0 < error < 0.03
    if "high" in table:
        assert [one.operator for one in made.sensitivities if one.spared] == ["TRANSPOSE_CONV"]


@pytest.mark.parametrize(
    ("table", "scales"),
    [
        ({"scheme": "dynamic-int8"}, 64),
        ({"scheme": "weight-int8"}, 64),
        ({"scheme": "static-int8"}, 1),
        ({"scheme": "static-int16x8"}, 1),
        ({"scheme": "mixed-int8", "spare": 0.0}, 1),
        (MIXED | {"high": "int16x8"}, 1),
    ],
)
def test_a_matrix_for_each_band_has_the_scales_that_its_kernel_reads(
    tmp_path: Path, table: dict[str, object], scales: int
) -> None:
    """One a column, along the last axis; the integer kernels read one alone."""
    torch.manual_seed(0)
    plain, int8 = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    fed = _one_step(Banded(), (4, 7, 40), plain)
    numbers = Quantize.model_validate({"kind": "quantize", **table})
    made = quantize(plain, numbers, fed, int8)
    assert {layer.operator: layer.scales for layer in made.audit.layers} == {
        "BATCH_MATMUL": scales,
        "FULLY_CONNECTED": 24,
    }
    assert 0 < _relative(plain, int8, fed) < 0.03
    if scales > 1:
        with pytest.raises(FieldwrenError, match=r"64 scales to the weight of a BATCH.* one$"):
            check(int8, SCHEMES["static-int8"])


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"scheme": "fp16"}, r"FLOAT32: .*Banded.*: take dynamic-int8 or fp32"),
        ({"scheme": "dynamic-int8", "keep": ["*Banded*"]}, r"Banded.* BATCH_M.*: leave it out of"),
        (MIXED | {"high": "fp16"}, r'Banded.* BATCH_MATMUL .*: take high = "fp32"'),
    ],
)
def test_a_matrix_that_has_no_float16_is_named_with_what_to_take(
    tmp_path: Path, table: dict[str, object], reason: str
) -> None:
    torch.manual_seed(0)
    plain = tmp_path / "float.tflite"
    fed = _one_step(Banded(), (4, 7, 40), plain)
    numbers = Quantize.model_validate({"kind": "quantize", **table})
    with pytest.raises(FieldwrenError, match=reason):
        quantize(plain, numbers, fed, tmp_path / "made.tflite")


@pytest.mark.parametrize("scheme", ["dynamic-int8", "static-int8"])
def test_named_layers_stay_float16(lopsided: Converted, tmp_path: Path, scheme: str) -> None:
    path = lopsided.quantized(tmp_path / "m.tflite", scheme, keep=["*.expand.conv"])
    halves = {layer.name for layer in inspect(path).layers if layer.weight == "FLOAT16"}
    assert LOPSIDED in halves and all(name.endswith("expand.conv") for name in halves)
    assert inspect(path).weights == {"INT8": 8 - len(halves), "FLOAT16": len(halves)}
    plain = lopsided.quantized(tmp_path / "int8.tflite", scheme)
    expected = _answers(lopsided.plain, lopsided)
    better, worse = (((_answers(p, lopsided) - expected) ** 2).mean() for p in (path, plain))
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
    expected = _answers(lopsided.plain, lopsided)
    better, worse = (((_answers(p, lopsided) - expected) ** 2).mean() for p in (path, plain))
    assert better < 0.2 * worse
    assert len(made.figures) == 2


def test_layers_in_sixteen_bits_stay_integer(converted: Converted, tmp_path: Path) -> None:
    numbers = Quantize(kind="quantize", scheme="mixed-int8", spare=0.5, high="int16x8")
    made = quantize(converted.plain, numbers, converted.examples, tmp_path / "m.tflite")
    assert made.audit.weights == {"INT8": 8} and made.audit.floating == ()
    spared = {one.layer for one in made.sensitivities if one.spared}
    wide = {layer.name for layer in made.audit.layers if "INT16" in (layer.input, layer.output)}
    assert spared and spared <= wide
