"""A searched child is trained in the numbers it is deployed in: what is simulated is the file."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from compress import export, pipeline
from compress.enas.fake import FakePruning
from compress.quantization import flatbuffer, qat, quantize
from compress.quantization.learned import learned
from compress.recipe import load
from compress.steps import Quantize
from compress.tasks.birds import Birds, make
from device.runtime import Runtime
from models.enas import Enas
from models.enas.cell import Fit
from models.enas.narrow import narrow
from tests.compress import shapes
from tests.compress.enas import children

SCHEMES = ["static-int8", "dynamic-int8"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("child")
    shapes.make_folder(root / "shapes")
    return root


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_recipe_trains_an_extracted_child_with_its_numbers(
    root: Path, tmp_path: Path, scheme: str
) -> None:
    """With drop-path, which a network fresh from the store has too: it ends with the same."""
    path = children.write_recipe(tmp_path / "tiny.toml", model="drop_path = 0.3")
    text = path.read_text().replace(
        'kind = "finetune"\n', f'kind = "qat"\nscheme = "{scheme}"\nsamples = 8\n'
    )
    path.write_text(text.replace('scheme = "fp32"', f'scheme = "{scheme}"'))
    loaded = load(str(path))
    task = make(loaded.settings, (root,), 0)

    def trained() -> pipeline.Trained:
        return pipeline.train(loaded, task, tmp_path / "out", 0, Console(quiet=True))

    made = trained()
    assert [record.kind for record in made.records] == ["enas", "baseline", "extract", "qat"]
    assert bool(learned(made.result)) is (scheme == "static-int8")
    shutil.rmtree(tmp_path / "out" / "stages" / "03-qat")
    again = trained().result.state_dict()
    for name, value in made.result.state_dict().items():
        assert torch.equal(value, again[name]), name


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_simulated_child_is_the_deployed_one(root: Path, tmp_path: Path, scheme: str) -> None:
    task = shapes.make_task(root, shapes.write_recipe(tmp_path / "shapes.toml"))
    net = _child(task)
    deployed = task.deploy(net)
    numbers = Quantize.model_validate({"kind": "quantize", "scheme": scheme})
    x = torch.from_numpy(np.concatenate([one["image"] for one in deployed.examples]))
    x = x.permute(0, 3, 1, 2)
    with torch.no_grad():
        floating = net(x)
    # a range of dynamic-int8 is one image's
    simulation = (
        qat.static(net, deployed, numbers, 10) if scheme == "static-int8" else qat.dynamic(net)
    )
    with torch.no_grad(), simulation.active(net):
        simulated = torch.cat([net(one[None]) for one in x])
    examples = export.by_key(deployed, deployed.examples)
    plain, int8 = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    export.convert(deployed, plain)
    quantize(plain, numbers, examples, int8, learned(net))
    runtime = Runtime(int8)
    got = torch.from_numpy(np.concatenate([runtime(one)["output_0"] for one in examples]))
    # of dynamic-int8 the file alone rounds what a pick reads: it is no layer
    limit = 0.2 if scheme == "static-int8" else 0.5
    assert (simulated - got).square().mean() < limit * (floating - got).square().mean()
    kinds = [operator.name for operator in flatbuffer.read(int8)]
    convolutions = sum(kinds.count(kind) for kind in ("CONV_2D", "DEPTHWISE_CONV_2D"))
    picks = sum(len(fit.picks) > 0 for fit in net.modules() if isinstance(fit, Fit))
    assert picks and convolutions == len(simulation.quantized) - 1 + picks  # 1: the answer


def _child(task: Birds) -> Enas:
    """Narrowed, with norms that have seen photos and answers that spread."""
    torch.manual_seed(0)
    net = Enas(3, 8, 1, 3, children.drawn(2, 3, (0.3, 0.5)))
    batches = list(task.batches(0, 0))
    for images, _ in batches:
        net.train()(images)
    fake = FakePruning()
    with torch.no_grad():
        net.eval()(batches[0][0], fake=fake)
        narrow(net, fake.kept)
        net.classifier.weight *= 10
    return net
