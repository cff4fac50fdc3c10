"""Quantization-aware training: simulated is deployed, ranges travel, and it helps."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress import export
from compress.granularity import GRAINS, masks, scores
from compress.quantization import fake, flatbuffer, qat, quantize
from compress.quantization.learned import Ranges, learned
from compress.quantization.simulate import Simulation
from compress.stages import qat as stage
from compress.stages.base import Context
from compress.steps import Qat, Quantize
from compress.store import Record
from compress.task import Deployed, OneStep
from compress.tasks.birds import Birds
from device.errors import BadInputError, FieldwrenError
from device.runtime import Runtime
from models.tcn import TCN, Stream
from tests.compress import graphs, shapes

STATIC = Quantize(kind="quantize", scheme="static-int8")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Birds:
    root = tmp_path_factory.mktemp("qat")
    shapes.make_folder(root / "shapes")
    return shapes.make_task(root, shapes.write_recipe(root / "shapes.toml"))


def _file(deployed: Deployed, numbers: Quantize, folder: Path) -> Path:
    target = folder / "int8.tflite"
    export.convert(deployed, folder / "float.tflite")
    examples = export.by_key(deployed, deployed.examples)
    quantize(folder / "float.tflite", numbers, examples, target, learned(deployed.net))
    return target


def _answers(path: Path, deployed: Deployed) -> np.ndarray:
    runtime = Runtime(path)
    return np.concatenate(
        [runtime(example)["output_0"] for example in export.by_key(deployed, deployed.examples)]
    )


def _torch(net: nn.Module, deployed: Deployed) -> np.ndarray:
    x = np.concatenate([example["image"] for example in deployed.examples])
    with torch.no_grad():
        answers: np.ndarray = net(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    return answers


def _agree(net: nn.Module, simulation: Simulation, path: Path, deployed: Deployed) -> None:
    """Logits within two steps of their grid, and far nearer than those of the float network."""
    got, floating = _answers(path, deployed), _torch(net, deployed)
    with simulation.active(net):
        simulated = _torch(net, deployed)
    last = flatbuffer.read(path)[-1].inputs[0]
    assert last is not None
    assert np.abs(simulated - got).max() <= 2.01 * last.scales[0]
    assert np.square(simulated - got).mean() < 0.2 * np.square(floating - got).mean()


@pytest.mark.parametrize("name", ["residual", "depthwise"])
def test_the_simulated_network_is_the_deployed_one(task: Birds, name: str, tmp_path: Path) -> None:
    net = graphs.make(name)
    with torch.no_grad():
        net.get_submodule("classifier").weight *= 10
    deployed = task.deploy(net)
    simulation = qat.static(net, deployed, STATIC, 10)
    _agree(net, simulation, _file(deployed, STATIC, tmp_path), deployed)
    layers = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in net.modules())
    assert len(simulation.quantized) == layers


def test_the_export_takes_the_learned_ranges(task: Birds, tmp_path: Path) -> None:
    net = graphs.make("concat")
    with torch.no_grad():
        net.get_submodule("classifier").weight *= 10
    deployed = task.deploy(net)
    simulation = qat.static(net, deployed, STATIC, 10)
    ranges = net.get_submodule(qat.NAME)
    assert isinstance(ranges, Ranges)
    ranges.low -= 0.5
    ranges.high *= 1.7
    expected = {}
    for name, (low, high) in ranges.by_tensor().items():
        scale, zero = fake.affine(torch.tensor(low), torch.tensor(high))
        expected[name] = (pytest.approx(float(scale), rel=1e-5), int(zero))
    path = _file(deployed, STATIC, tmp_path)
    _agree(net, simulation, path, deployed)
    stored = {
        tensor.name.removesuffix("_quantized"): (tensor.scales[0], tensor.zero_points[0])
        for operator in flatbuffer.read(path)
        for tensor in operator.flows
        if tensor.type == "INT8"
    }
    assert {name: stored[name] for name in expected} == expected
    assert set(expected) == set(stored)  # no range is left to calibration
    shared = [group for group in ranges.tensors if len(group) > 2]
    assert shared  # what is joined has one scale


def test_ranges_that_start_from_fewer_examples_say_so(
    task: Birds, capsys: pytest.CaptureFixture[str]
) -> None:
    net = graphs.make("chain")
    deployed = task.deploy(net)
    qat.static(net, deployed, STATIC, 1)
    said = capsys.readouterr().out
    assert f"calibrated on {len(deployed.examples)} inputs" in said and "samples = 200" in said


def test_ranges_follow_the_batches_until_they_are_frozen() -> None:
    ranges = Ranges([["a"], ["b"]], frozen_after=2)
    ranges.low[:], ranges.high[:] = -1.0, 1.0
    x = torch.tensor([-3.0, 5.0])
    expected_low, expected_high = -1.0, 1.0
    for step in range(4):
        ranges.quantized(0, x)
        ranges.quantized(0, x / 2)  # a second tensor of the group: the wider counts
        ranges.update()
        if step < 2:
            expected_low += 0.01 * (-3 - expected_low)
            expected_high += 0.01 * (5 - expected_high)
    assert ranges.by_tensor()["a"] == pytest.approx((expected_low, expected_high))
    assert ranges.by_tensor()["b"] == (-1.0, 1.0)
    ranges.eval()
    ranges.steps.zero_()
    ranges.quantized(0, 100 * x)
    ranges.update()
    assert ranges.by_tensor()["a"] == pytest.approx((expected_low, expected_high))


def test_a_finished_stage_is_taken_up_with_its_ranges() -> None:
    groups = (("a",), ("b", "c"))
    trained, fresh = graphs.make("chain"), graphs.make("chain")
    trained.add_module(qat.NAME, Ranges(groups))
    trained.get_submodule(qat.NAME).low += torch.tensor([-1.0, -2.0])
    trained.get_submodule(qat.NAME).high += 3.0
    record = Record(
        key="",
        kind="qat",
        seconds=0,
        structure=[list(group) for group in groups],
        macs=0,
        parameters=0,
        primary="top1",
        validation={},
    )
    stage.rebuild(fresh, torch.empty(0), record)
    fresh.load_state_dict(trained.state_dict())
    assert learned(fresh) == {"a": (-1, 3), "b": (-2, 3), "c": (-2, 3)}
    dynamic = graphs.make("chain")
    stage.rebuild(dynamic, torch.empty(0), record.model_copy(update={"structure": []}))
    assert learned(dynamic) == {}


@pytest.mark.parametrize("scheme", ["static-int8", "dynamic-int8"])
def test_zeros_stay_zero_in_the_simulation(task: Birds, scheme: str, tmp_path: Path) -> None:
    net = graphs.make("residual")
    layers = {name: m for name, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    found = scores.magnitude(list(layers.values()))
    masks.zero(layers, found, GRAINS["weight"], 0.5, "uniform")
    masks.hold(layers.values())
    before = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    table = {"kind": "qat", "scheme": scheme, "epochs": 1, "lr": 0.05, "samples": 8}
    context = Context(task, 0, task.example(), None, tmp_path / "checkpoint.pt")
    stage.run(context, net, Qat.model_validate(table))
    for name, layer in layers.items():
        assert torch.equal(layer.weight == 0, before[name] == 0)
        assert not torch.equal(layer.weight, before[name])


@pytest.mark.parametrize("scheme", ["static-int8", "dynamic-int8"])
def test_no_teacher_looks_between_a_layer_and_its_norm(
    task: Birds, scheme: str, tmp_path: Path
) -> None:
    """The two are one there: what a hint saw would be the norm's output, or nothing."""
    net = graphs.make("residual")
    conv = next(name for name, m in net.named_modules() if isinstance(m, nn.Conv2d))
    norm = next(name for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d))
    context = Context(task, 0, task.example(), copy.deepcopy(net), tmp_path / "checkpoint.pt")
    for name, way in ((conv, "hints"), (norm, "attention")):
        table = {"kind": "qat", "scheme": scheme, "epochs": 1, "lr": 0.05, "samples": 8}
        step = Qat.model_validate({**table, "distil": {way: {name: name}}})
        with pytest.raises(BadInputError, match=f"distil: {name} puts nothing out in int8"):
            stage.run(context, net, step)
        assert "forward" not in vars(net)


def test_dynamic_simulates_the_streaming_file(tmp_path: Path) -> None:
    """A temporal network is trained on sequences and deployed frame by frame, in dynamic int8."""
    torch.manual_seed(0)
    net = TCN(24, 24, residual=16, hidden=32, dilations=(1, 2))
    x = torch.rand(1, 24, 30)
    net(x)
    net.eval()
    with torch.no_grad():
        net.leave.weight *= 100  # answers that spread
        floating = net(x)
        with qat.dynamic(net).active(net):
            simulated = net(x)
    stream = Stream(net).eval()
    plain, int8 = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    width = stream.past_taps.shape[1]
    deployed = OneStep(
        net=stream,
        inputs={"frame": "", "delayed": ""},
        outputs={"mask": "", "newest": ""},
        examples=[{"frame": x[0, :, :1].T.numpy(), "delayed": np.zeros((1, width), np.float32)}],
    )
    export.convert(deployed, plain)
    numbers = Quantize(kind="quantize", scheme="dynamic-int8")
    quantize(plain, numbers, export.by_key(deployed, deployed.examples), int8)
    got = Runtime(int8)(export.by_key(deployed, deployed.examples)[0])["output_0"][0]
    want, plainly = simulated[0, :, 0].numpy(), floating[0, :, 0].numpy()
    assert np.square(want - got).mean() < 0.2 * np.square(plainly - got).mean()


def test_a_task_that_deploys_another_graph_is_told_so(task: Birds) -> None:
    net = graphs.make("chain")
    deployed = task.deploy(copy.deepcopy(net))
    with pytest.raises(FieldwrenError, match="deploys another graph"):
        qat.static(net, deployed, STATIC, 1)
    assert learned(net) == {}
