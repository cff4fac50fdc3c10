"""Export and quantization: what the file computes is what torch computes, in int8 nearly."""

import copy
import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from compress import export, quantization
from compress.steps import Quantize
from compress.task import Deployed
from device.errors import FieldwrenError
from device.runtime import Runtime
from tests.compress import graphs, shapes


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """A residual network whose logits spread as a trained one's, on real examples."""
    root = tmp_path_factory.mktemp("export")
    shapes.make_folder(root / "shapes")
    task = shapes.make_task(root, shapes.write_recipe(root / "shapes.toml"))
    net = graphs.make("residual")
    with torch.no_grad():
        net.get_submodule("classifier").weight *= 10
    return task.deploy(net)


@pytest.fixture(scope="module")
def float_file(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("float") / "model.tflite"
    export.convert(deployed, path)
    return path


def _numbers(scheme: str, **options: object) -> Quantize:
    return Quantize.model_validate({"kind": "quantize", "scheme": scheme, **options})


def _calibration(deployed: Deployed) -> list[quantization.Example]:
    return [{"args_0": example["image"]} for example in deployed.examples]


def _run(path: Path, deployed: Deployed) -> np.ndarray:
    runtime = Runtime(path)
    results = [runtime({"args_0": example["image"]}) for example in deployed.examples]
    return np.concatenate([result["output_0"] for result in results])


def test_static_int8_is_near_float_and_all_int8(
    deployed: Deployed, float_file: Path, tmp_path: Path
) -> None:
    model, golden = tmp_path / "model.tflite", tmp_path / "golden.npz"
    made = export.export(deployed, _numbers("static-int8", samples=20), model, golden)
    assert made.float_error < 1e-5
    assert made.relative_rms < 0.1
    weighted = sum(made.audit.operators.get(kind, 0) for kind in quantization.WEIGHTED)
    assert made.audit.weights == {"INT8": weighted}
    assert [(spec.name, spec.key, spec.shape, spec.dtype) for spec in made.inputs] == [
        ("image", "image", (1, 16, 16, 3), "float32")
    ]
    assert [(spec.name, spec.key, spec.shape) for spec in made.outputs] == [
        ("logits", "logits", (1, 4))
    ]
    with np.load(golden, allow_pickle=False) as stored:
        assert stored["in.image"].shape == (len(deployed.golden), 1, 16, 16, 3)
        assert stored["out.logits"].shape == (len(deployed.golden), 1, 4)
    assert model.stat().st_size < 0.5 * float_file.stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["golden.npz", "model.tflite"]


def test_each_output_has_a_tolerance_of_its_own_size(deployed: Deployed, tmp_path: Path) -> None:
    """A state of large values must not decide how far a mask may be off."""

    class WithState(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = copy.deepcopy(deployed.net)

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = self.net(image)
            logits = logits if isinstance(logits, torch.Tensor) else logits[0]
            return torch.sigmoid(logits), 500 * logits

    outputs = {"mask": "0…1", "state": "large"}
    other = Deployed(**{**vars(deployed), "net": WithState().eval(), "outputs": outputs})
    made = export.export(other, _numbers("fp32"), tmp_path / "m.tflite", tmp_path / "g.npz")
    with np.load(tmp_path / "g.npz", allow_pickle=False) as golden:
        largest = {name: float(np.abs(golden[f"out.{name}"]).max()) for name in outputs}
    assert largest["state"] > 100 * largest["mask"]
    assert made.golden_tolerances == pytest.approx({n: 1e-3 * v for n, v in largest.items()})


def test_kernels_kept_channels_last_are_exported_right(deployed: Deployed, tmp_path: Path) -> None:
    net = copy.deepcopy(deployed.net).to(memory_format=torch.channels_last)
    other = Deployed(**{**vars(deployed), "net": net})
    made = export.export(other, _numbers("fp32"), tmp_path / "m.tflite", tmp_path / "g.npz")
    assert made.error < 1e-5
    assert made.audit.weights == {"FLOAT32": sum(made.audit.weights.values())}


def test_a_file_that_differs_from_torch_is_refused(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PARITY", 1e-12)  # no two float programs agree so well
    with pytest.raises(FieldwrenError, match="differs from torch"):
        export.export(deployed, _numbers("fp32"), tmp_path / "m.tflite", tmp_path / "g.npz")


def test_the_audit_catches_a_weight_that_stayed_float(float_file: Path) -> None:
    with pytest.raises(FieldwrenError, match=r"weight of a CONV_2D as FLOAT32"):
        quantization.check(float_file, quantization.SCHEMES["dynamic-int8"])


def test_int8_weights_alone_leave_the_arithmetic_in_float(
    deployed: Deployed, float_file: Path, tmp_path: Path
) -> None:
    """So a device owes its golden vectors what float does: the older runtime, too, is right."""
    model, golden = tmp_path / "model.tflite", tmp_path / "golden.npz"
    made = export.export(deployed, _numbers("weight-int8"), model, golden)
    assert set(made.audit.weights) == {"INT8"}
    assert {(layer.input, layer.output) for layer in made.audit.layers} == {("FLOAT32", "FLOAT32")}
    with np.load(golden, allow_pickle=False) as stored:
        largest = float(np.abs(stored["out.logits"]).max())
        assert made.golden_tolerances == {"logits": pytest.approx(1e-3 * largest)}
        plain = Runtime(model, delegate="none")  # the reference kernels, all weights unpacked
        answers = [plain({"image": image})["logits"] for image in stored["in.image"]]
        np.testing.assert_allclose(answers, stored["out.logits"], atol=1e-5 * largest)
    assert model.stat().st_size < 0.5 * float_file.stat().st_size


@pytest.mark.parametrize("scheme", ["dynamic-int8", "static-int8", "static-int16x8"])
def test_every_int8_scheme_quantizes_every_weight(
    deployed: Deployed, float_file: Path, tmp_path: Path, scheme: str
) -> None:
    target = tmp_path / "int8.tflite"
    found = quantization.quantize(float_file, _numbers(scheme), _calibration(deployed), target)
    assert set(found.audit.weights) == {"INT8"}
    expected, got = _run(float_file, deployed), _run(target, deployed)
    assert np.sqrt(((got - expected) ** 2).mean()) < 0.1 * expected.std()


def test_a_bundle_holds_no_examples(deployed: Deployed, tmp_path: Path) -> None:
    """Which may be somebody's voice or photo."""
    bare = dataclasses.replace(deployed, golden=())
    with pytest.raises(FieldwrenError, match="made up no golden vectors"):
        export.export(bare, _numbers("fp32"), tmp_path / "m.tflite", tmp_path / "g.npz")
    assert list(tmp_path.iterdir()) == []


def test_calibration_on_fewer_examples_than_asked_is_said(
    deployed: Deployed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offered = len(deployed.examples)
    numbers = _numbers("static-int8", samples=offered + 1)
    export.export(deployed, numbers, tmp_path / "m.tflite", tmp_path / "g.npz")
    assert capsys.readouterr().out == (
        f"quantize: static-int8 is calibrated on {offered} inputs, all that the task offers: "
        f"samples = {offered + 1}\n"
    )
    quantization.say_if_fewer(_numbers("static-int8", samples=offered), offered)
    quantization.say_if_fewer(_numbers("dynamic-int8"), offered)  # has no calibration
    assert capsys.readouterr().out == ""


def test_calibration_sees_every_example(
    deployed: Deployed, float_file: Path, tmp_path: Path
) -> None:
    """One bright example among dull ones must not be clipped."""
    examples = _calibration(deployed)
    dull = [{"args_0": 0.1 * example["args_0"]} for example in examples]
    target = tmp_path / "x.tflite"
    quantization.quantize(float_file, _numbers("static-int8"), [examples[0], *dull], target)
    bright = deployed.examples[0]["image"]
    expected = Runtime(float_file)({"args_0": bright})["output_0"]
    got = Runtime(target)({"args_0": bright})["output_0"]
    assert np.abs(got - expected).max() < 0.1 * np.abs(expected).max()


def test_an_unconvertible_network_is_one_line(deployed: Deployed, tmp_path: Path) -> None:
    class Spectrum(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor]:
            window = torch.ones(8)
            return (torch.stft(image.flatten(), 8, window=window, return_complex=True).abs(),)

    other = Deployed(**{**vars(deployed), "net": Spectrum()})
    with pytest.raises(FieldwrenError, match="cannot be converted to TFLite"):
        export.convert(other, tmp_path / "x.tflite")
    assert list(tmp_path.iterdir()) == []


FULL = """
import resource, sys
from pathlib import Path
import torch
from compress import export
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
try:
    export.write(torch.nn.Linear(100, 100), (torch.ones(1, 100),), Path(sys.argv[1]))
except OSError as error:
    print(error.filename, error.strerror)
"""


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """The converter, left to write the file itself, ends the process without a word."""
    path = tmp_path / "model.tflite"
    command = [sys.executable, "-c", FULL, str(path)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.stdout == f"{path} File too large\n" and not list(tmp_path.iterdir())
