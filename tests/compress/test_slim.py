"""Network Slimming: the price by hand, what it does to scales, and a recipe with it."""

from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from compress import pipeline, recipe
from compress.stages import Context, slim
from compress.steps import Slim
from device.errors import FieldwrenError
from tests.compress import shapes
from tests.compress.shared_batch import without_batch_statistics

STEPS = """[[steps]]
kind = "slim"
penalty = 0.01
epochs = 4
lr = 0.05
warmup = 0.2
[[steps]]
kind = "prune"
criterion = "bn_scale"
scope = "global"
macs = 0.6
round_to = 1
[[steps]]
kind = "finetune\""""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("slim")
    shapes.make_folder(root / "shapes")
    shapes.write_recipe(root / "plain.toml", epochs=2)
    return root


def _context(root: Path, folder: Path) -> Context:
    task = shapes.make_task(root, root / "plain.toml")
    return Context(task, 0, task.example(), None, folder / "checkpoint.pt")


def test_the_price_and_its_gradient_by_hand() -> None:
    factors = [nn.Parameter(torch.tensor([2.0, -3.0])), nn.Parameter(torch.tensor([0.0, 0.5]))]
    price = slim.Price(list(factors), 0.1).loss()
    assert price.item() == pytest.approx(0.55)
    price.backward()
    grads = [factor.grad for factor in factors]
    torch.testing.assert_close(grads, [torch.tensor([0.1, -0.1]), torch.tensor([0.0, 0.1])])


def test_scales_shrink_with_the_price(root: Path, tmp_path: Path) -> None:
    left = {}
    for penalty in (1e-6, 0.1):
        folder = tmp_path / str(penalty)
        folder.mkdir()
        context = _context(root, folder)
        torch.manual_seed(0)
        net = context.task.build()
        step = Slim(kind="slim", penalty=penalty, epochs=4, lr=0.05, warmup=0.2)
        made = slim.run(context, net, step)
        before, after = made.figures[0].series
        assert before.y == (1.0,) * len(before.y)  # as norms begin
        assert list(after.y) == sorted(after.y) and len(made.log) == 4
        left[penalty] = sum(after.y) / sum(before.y)
    assert left[0.1] < 0.9 * left[1e-6]


def test_a_recipe_slims_prunes_by_scale_and_tunes(root: Path, tmp_path: Path) -> None:
    text = (root / "plain.toml").read_text()
    prune = '[[steps]]\nkind = "prune"\ncriterion = "l1"\nmacs = 0.5\n'
    path = tmp_path / "slim.toml"
    path.write_text(text.replace(f'{prune}[[steps]]\nkind = "finetune"', STEPS))
    chosen = recipe.load(str(path))
    task = shapes.make_task(root, path)
    made = pipeline.train(chosen, task, tmp_path / "out", 0, Console(quiet=True))
    assert [stage.kind for stage in made.records] == ["baseline", "slim", "prune", "finetune"]
    assert made.records[1].macs == made.records[0].macs  # nothing is removed yet
    assert made.records[2].macs <= 0.6 * made.records[0].macs


def test_a_network_without_batch_norms_is_refused(root: Path, tmp_path: Path) -> None:
    context = _context(root, tmp_path)
    net = without_batch_statistics(context.task.build())
    with pytest.raises(FieldwrenError, match="no batch norm has factors"):
        slim.run(context, net, Slim(kind="slim", epochs=1, lr=0.05))
