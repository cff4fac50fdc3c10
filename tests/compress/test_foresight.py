"""What a recipe gets wrong is said before its baseline is trained."""

from pathlib import Path

import pytest
from rich.console import Console

from compress import foresight, pipeline, recipe
from compress.tasks import enhancer
from device.errors import FieldwrenError
from tests.compress import shapes

STEP = '[[steps]]\nkind = "finetune"'
PLAIN_KEEP = 'criterion = "l1"\nkeep = ["layer9.*"]'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("foresight")
    shapes.make_folder(root / "shapes")
    return root


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('criterion = "l1"', PLAIN_KEEP, r'keep: no layer is called "layer9\.\*"'),
        ("distil = true", 'distil = { teacher = "/none.tflite" }', r"/none\.tflite: no such teac"),
        ("distil = true", 'distil = { teacher = "/" }', r"^/: .*manifest"),
        (STEP, f'[[steps]]\nkind = "rnn-units"\ncriterion = "l1"\nratio = 0.5\n{STEP}', "no LSTM"),
    ],
)
def test_it_is_said_before_anything_is_trained(
    old: str, new: str, message: str, root: Path, tmp_path: Path
) -> None:
    path = shapes.write_recipe(tmp_path / "recipe.toml")
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(FieldwrenError, match=message):
        pipeline.train(recipe.load(str(path)), shapes.make_task(root, path), tmp_path, 0, Console())
    assert not (tmp_path / "stages").exists()


def test_layers_may_have_other_names_after_a_step(root: Path, tmp_path: Path) -> None:
    """What a factorised layer is made of is called as nothing in the fresh network is."""
    path = shapes.write_recipe(tmp_path / "recipe.toml")
    pruned = '[[steps]]\nkind = "prune"\ncriterion = "l1"\n'
    lowrank = '[[steps]]\nkind = "lowrank"\nform = "channel"\nenergy = 0.9\n'
    named = path.read_text().replace(pruned, f'{pruned}keep = ["blocks.0.first.0"]\n')
    task = shapes.make_task(root, path)
    path.write_text(named.replace(pruned, lowrank + pruned))
    foresight.check(recipe.load(str(path)), task, task.build())
    path.write_text(named)
    with pytest.raises(FieldwrenError, match="keep: no layer is called"):
        foresight.check(recipe.load(str(path)), task, task.build())


def test_recurrent_layers_have_other_names_once_they_are_adopted(tmp_path: Path) -> None:
    text = recipe.find("enhancer-fullsubnet").read_text()
    gates = '[[steps]]\nkind = "rnn-gates"\nratio = 0.5\nepochs = 1\nlr = 0.01\n'
    adopted = (
        '[[steps]]\nkind = "sparse"\nsparsity = 0.5\nkeep = ["encoder.lstms.0.layers.0.x.*"]\n'
    )
    path = tmp_path / "recipe.toml"

    def check(steps: str) -> None:
        path.write_text(text[: text.index("[[steps]]")] + steps + text[text.index("[gate]") :])
        loaded = recipe.load(str(path))
        task = enhancer.make(loaded.settings, (tmp_path,), 0)
        foresight.check(loaded, task, task.build())

    check(gates + adopted)
    with pytest.raises(FieldwrenError, match="keep: no layer is called"):
        check(adopted)
