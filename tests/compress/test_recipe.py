"""Recipes: what is shipped loads, what is wrong is refused with its path."""

from pathlib import Path

import pytest

from compress import recipe
from device.errors import BadInputError
from tests.compress import shapes


@pytest.fixture
def text(tmp_path: Path) -> str:
    return shapes.write_recipe(tmp_path / "shapes.toml").read_text()


def _refusal(tmp_path: Path, text: str) -> str:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(BadInputError) as refused:
        recipe.load(str(path))
    assert refused.value.exit_code == 2
    assert str(path) in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", recipe.shipped())
def test_every_shipped_recipe_loads_by_its_bare_name(name: str) -> None:
    loaded = recipe.load(name)
    assert loaded.name == name
    assert loaded.text == (recipe.SHIPPED / f"{name}.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("seed = 0", "sed = 0", "sed: unknown key"),
        ("width = 16", "widht = 16", "model.resnet.widht: unknown key"),
        ("lr = 0.05", "learning_rate = 0.05", "baseline"),
        ("batch = 8", "batch = 0", "data.batch"),
        ("macs = 0.5", "macs = 1.5", "steps.0.prune.macs"),
        ("macs = 0.5", "macs = 0.5\nratio = 0.5", "exactly one of ratio, macs"),
        ('criterion = "l1"', 'criterion = "l7"', "no criterion 'l7'"),
        ('kind = "prune"', 'kind = "prun"', "steps.0"),
        ('task = "birds"', 'task = "fish"', "task: no task 'fish'"),
        ('task = "birds"', "", "task: missing"),
        ("seed = 0", "seed = ", "not valid TOML"),
        ("[gate]", '[[steps]]\nkind = "finetune"\nepochs = 1\nlr = 1\n[gate]', "quantize must be"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_path_of_its_key(
    tmp_path: Path, text: str, old: str, new: str, where: str
) -> None:
    assert old in text
    assert where in _refusal(tmp_path, text.replace(old, new, 1))


def test_no_such_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(BadInputError, match=r"nothing\.toml.*birds-quick"):
        recipe.load("nothing.toml")
