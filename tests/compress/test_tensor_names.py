"""A bundle's model names its tensors as the manifest does; nothing else of the file changes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import Tensor, nn

from compress import export, mask_networks, tensor_names
from compress.mask_networks import Published
from compress.steps import Quantize
from compress.task import Deployed
from device.manifest import ImageInput
from device.runtime import Runtime
from tests.models.test_fullsubnet import lively


class Classes(nn.Module):
    """[1, 8, 8, 3] → logits of four classes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.linear(image.mean((1, 2))),)


def _classifier() -> Deployed:
    image = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    return Deployed(
        net=Classes().eval(),
        inputs={"image": "pixels"},
        outputs={"logits": "one a class"},
        examples=[{"image": image}],
        golden=({"image": image},),
        states=(),
        preprocessing=ImageInput(height=8, width=8, mean=(0, 0, 0), std=(1, 1, 1)),
    )


def _enhancer() -> Deployed:
    model, random = (
        Published(kind="fullsubnet", full=(6,), sub=(5,), reach=2),
        np.random.default_rng(0),
    )
    stream = lively(model.build(16_000)).stream()
    states = {state.spec.input: random.random(state.shape, np.float32) for state in stream.states}
    example = {"frame": random.random((1, 257), np.float32), **states}
    return Deployed(
        net=stream,
        inputs=dict.fromkeys(example, "heard"),
        outputs={"mask": "gains", **{state.spec.output: "new" for state in stream.states}},
        examples=[example],
        golden=(example,),
        states=tuple(state.spec for state in stream.states),
        preprocessing=mask_networks.front_end(model, 16_000),
    )


@pytest.mark.parametrize(("make", "scheme"), [(_classifier, "static-int8"), (_enhancer, "fp32")])
def test_signature_and_tensors_bear_the_names_of_the_manifest(
    make: Callable[[], Deployed], scheme: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    deployed, model = make(), tmp_path / "model.tflite"
    numbers = Quantize.model_validate({"kind": "quantize", "scheme": scheme})
    made = export.export(deployed, numbers, model, tmp_path / "golden.npz")
    assert [spec.name for spec in made.inputs] == list(deployed.inputs)
    assert [spec.name for spec in made.outputs] == list(deployed.outputs)
    assert all(spec.key == spec.name for spec in (*made.inputs, *made.outputs))

    interpreter = Interpreter(model_content=model.read_bytes())
    named = [tensor["name"] for tensor in interpreter.get_input_details()]
    assert named == list(deployed.inputs)
    named = [tensor["name"] for tensor in interpreter.get_output_details()]
    assert named == list(deployed.outputs)

    example = deployed.examples[0]
    by_signature = interpreter.get_signature_runner()(**example)
    by_invoke = Runtime(model)(example)
    assert by_signature.keys() == by_invoke.keys() == deployed.outputs.keys()
    assert all(np.array_equal(by_signature[name], by_invoke[name]) for name in by_invoke)


def test_only_the_names_change(tmp_path: Path) -> None:
    deployed = _classifier()
    export.convert(deployed, tmp_path / "model.tflite")
    before = (tmp_path / "model.tflite").read_bytes()
    found = []
    for name in ("one.tflite", "two.tflite"):
        (tmp_path / name).write_bytes(before)
        tensor_names.replace(tmp_path / name, {"args_0": "image", "output_0": "logits"})
        found.append((tmp_path / name).read_bytes())
    assert found[0] == found[1]
    changed = sum(a != b for a, b in zip(before, found[0], strict=False))
    assert 0 < changed <= 4 * 4  # four references; the texts are behind
    image = deployed.examples[0]["image"]
    answers = [
        Runtime(tmp_path / "model.tflite")({"args_0": image})["output_0"],
        Runtime(tmp_path / "one.tflite")({"image": image})["logits"],
    ]
    assert np.array_equal(*answers)
