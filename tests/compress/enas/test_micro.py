"""Training of shared weights: strided 1 × 1 convolutions do no harm, what diverges is named."""

import copy
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from rich.console import Console
from torch import Tensor, nn

from compress import pipeline
from compress.recipe import load
from compress.steps import Search
from compress.strided import BLOCK
from compress.task import Batch
from compress.tasks.birds import Birds, make
from device.errors import FieldwrenError
from models.enas import Architecture
from models.enas.operations import Blocks, FactorizedReduction
from tests.compress import shapes
from tests.compress.enas import children, strided_space
from tests.compress.strides import Strides


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("micro")
    shapes.make_folder(root / "shapes")
    path = children.write_recipe(root / "tiny.toml", search='precision = "32-true"')
    path.write_text(path.read_text().replace("batch = 6\ndesc", "batch = 5\ndesc"))
    return root


def _paths(count: int) -> list[Architecture]:
    return [children.drawn(number, 2, (0.0,)) for number in range(count)]


def test_no_harmful_convolution_is_trained(root: Path) -> None:
    space = strided_space.space(root, root / "tiny.toml")
    with Strides() as noted:
        space.train(0, _paths)
    assert any(inputs < BLOCK for inputs, _ in noted.seen)
    assert not noted.harmful
    assert not any("forward" in vars(layer) for layer in space.net.modules())


def test_two_threads_train_batches_of_five(root: Path) -> None:
    """On AVX2 the process is aborted without the other way."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.compress.enas.strided_space", root, root / "tiny.toml"],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout[-5:]) == (0, "fine\n"), done.stderr


def test_a_reduction_of_chosen_states_is_that_of_the_stride() -> None:
    torch.manual_seed(0)
    blocks = Blocks((0, 2), 3)
    whole, part = FactorizedReduction(12, 6).double(), FactorizedReduction(8, 6).double()
    x = torch.randn(5, 8, 8, 8, dtype=torch.float64)
    part.load_state_dict(
        {
            name: blocks.of(value) if value.ndim == 4 else value
            for name, value in copy.deepcopy(whole.state_dict()).items()
        }
    )
    found, expected = whole(x, blocks), part(x)  # float64 takes no harm
    torch.testing.assert_close(found, expected)
    for y in (found, expected):
        y.pow(3).sum().backward()
    for name in ("even", "odd"):
        one, other = getattr(whole, name).weight.grad, getattr(part, name).weight.grad
        torch.testing.assert_close(blocks.of(one), other)
        assert not one[:, 4:8].any()  # the state that was not chosen


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -1.0])
def test_a_loss_that_is_not_finite_stops_the_search(root: Path, factor: float) -> None:
    """And so does a gradient that is not: that of the root of zero is infinite."""

    class Broken(Birds):
        def loss(self, net: nn.Module, batch: Batch, teacher: nn.Module | None) -> Tensor:
            whole = super().loss(net, batch, teacher)
            return (whole - whole).abs().sqrt() if factor < 0 else whole * factor

    space = strided_space.space(root, root / "tiny.toml")
    assert isinstance(space.task, Birds)
    space.task.__class__ = Broken
    with pytest.raises(FieldwrenError, match="not finite in epoch 3: lower lr"):
        space.train(2, _paths)


def test_the_rate_falls() -> None:
    table = {"kind": "enas", "lr": 0.01}
    Search.model_validate({**table, "lr_min": 0.01})
    with pytest.raises(ValidationError, match="lr_min is above lr"):
        Search.model_validate({**table, "lr_min": 0.02})


def test_what_a_search_leaves_has_no_score_yet(root: Path, tmp_path: Path) -> None:
    """Its child is fresh: a score beside it would be read as the search's."""
    loaded = load(str(root / "tiny.toml"))
    console = Console(record=True, width=200, quiet=False, file=io.StringIO())
    task = make(loaded.settings, (root,), 0)
    pipeline.train(loaded, task, tmp_path / "out", 0, console)
    lines = console.export_text().splitlines()
    (searched,) = (line for line in lines if line.startswith("enas: "))
    (trained,) = (line for line in lines if line.startswith("baseline: "))
    assert searched.startswith("enas: not trained yet, ") and "validation" not in searched
    assert searched.split(", ")[1:] == trained.split(", ")[1:]  # the same child's cost
    assert trained.startswith("baseline: top1 ") and "on validation" in trained
