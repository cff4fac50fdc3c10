"""One converted network for the tests of files: convolutions, depthwise ones, a sum, a matrix."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from compress import export
from compress.quantization import Example, quantize
from compress.steps import Quantize
from compress.task import Deployed
from device.runtime import Runtime
from tests.compress import graphs, shapes


@dataclass(frozen=True)
class Converted:
    """A float file, the network it came from, and inputs by the file's keys."""

    deployed: Deployed
    plain: Path
    examples: list[Example]

    def quantized(self, target: Path, scheme: str, **options: object) -> Path:
        """The file in another scheme."""
        numbers = Quantize.model_validate({"kind": "quantize", "scheme": scheme, **options})
        quantize(self.plain, numbers, self.examples, target)
        return target

    def answers(self, model: Path) -> np.ndarray:
        """What a file of this network says to the examples."""
        runtime = Runtime(model)
        return np.stack([runtime(example)["output_0"] for example in self.examples])


@pytest.fixture(scope="package")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    root = tmp_path_factory.mktemp("converted")
    shapes.make_folder(root / "shapes")
    task = shapes.make_task(root, shapes.write_recipe(root / "shapes.toml"))
    net = graphs.make("depthwise")
    with torch.no_grad():
        net.get_submodule("classifier").weight *= 10
    deployed = task.deploy(net)
    export.convert(deployed, root / "float.tflite")
    return Converted(deployed, root / "float.tflite", export.by_key(deployed, deployed.examples))


@pytest.fixture(scope="package")
def int8(converted: Converted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted.quantized(tmp_path_factory.mktemp("int8") / "m.tflite", "static-int8")
