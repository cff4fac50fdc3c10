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
        ('name = "shapes"', 'name = "stages"', "name: stages is the folder of a run's stages"),
        ("seed = 0", "seed = ", "not valid TOML"),
        ("[gate]", '[[steps]]\nkind = "finetune"\nepochs = 1\nlr = 1\n[gate]', "quantize must be"),
        *(
            ("distil = true", f"distil = {table}", f"steps.1.finetune.distil{reason}")
            for table, reason in (
                ('{ hint = { a = "b" } }', ".hint: unknown key"),
                ("{ hint_weight = 0 }", ".hint_weight: Input should be greater than 0"),
                ("{ teacher = 3 }", ".teacher: Input should be a valid string"),
                ('"yes"', ": give true, false or a table"),
                ("1", ": give true, false or a table"),
            )
        ),
        ("[gate]", "[augment]\npad = 3\nflp = 1\n[gate]", "augment.Augment.flp: unknown key"),
        *(
            (old, f"{old.partition(' =')[0]} = {value}", f"{where}: Input should be a valid")
            for old, where in (
                ("epochs = 1", "baseline.epochs"),
                ("batch = 8", "data.batch"),
                ("width = 16", "model.resnet.width"),
                ("samples = 8", "steps.2.quantize.samples"),
                ("lr = 0.05", "baseline.lr"),
            )
            for value in ("true", '"2"', "1979-05-27")
        ),
        ("epochs = 1", "epochs = 1e3", "baseline.epochs: Input should be a valid integer"),
        ("lr = 0.05", 'lr = 0.05\nchannels_last = "no"', "channels_last: Input should be a valid"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_path_of_its_key(
    tmp_path: Path, text: str, old: str, new: str, where: str
) -> None:
    assert old in text
    assert where in _refusal(tmp_path, text.replace(old, new, 1))


def test_whole_numbers_stand_for_real_ones(tmp_path: Path, text: str) -> None:
    path = tmp_path / "whole.toml"
    path.write_text(text.replace("lr = 0.05", "lr = 1"))
    loaded = recipe.load(str(path))
    assert loaded.baseline.lr == 1.0 and isinstance(loaded.baseline.lr, float)
    assert isinstance(loaded.steps, tuple) and loaded.text == path.read_text()


SPARSE = 'kind = "sparse"\nsparsity = 0.5'
CODEBOOK, LOWRANK = 'kind = "codebook"', 'kind = "lowrank"\nform = "cp"\nrank = "vbmf"'
FINETUNE, PRUNE = (
    'kind = "finetune"\nepochs = 1\nlr = 1',
    'kind = "prune"\ncriterion = "l1"\nratio = 0.5',
)
COMPACT = 'kind = "compact"\nblock = "ghost"\nlayers = ["*"]'
NETADAPT = 'kind = "netadapt"\nmacs = 0.5'
QAT, STATIC = 'kind = "qat"\nepochs = 1\nlr = 1', 'kind = "quantize"\nscheme = "static-int8"'
DYNAMIC = STATIC.replace("static", "dynamic")


def _with_steps(text: str, *steps: str) -> str:
    made = "".join(f"[[steps]]\n{step}\n" for step in steps)
    return text.replace(text[text.index("[[steps]]") : text.index("[gate]")], made)


@pytest.mark.parametrize(
    ("steps", "where"),
    [
        ((CODEBOOK, FINETUNE), "only quantize may follow codebook: finetune would undo"),
        ((CODEBOOK, PRUNE, STATIC), "only quantize may follow codebook: prune would undo"),
        ((QAT, FINETUNE, STATIC), "only quantize may follow qat: finetune would undo"),
        ((QAT, DYNAMIC), 'qat trains for scheme = "static-int8"'),
        ((PRUNE, QAT), 'qat trains for scheme = "static-int8"'),
        ((SPARSE, FINETUNE, LOWRANK), "lowrank cannot follow sparse: its zeros would go"),
        ((SPARSE, COMPACT), "compact cannot follow sparse"),
        ((SPARSE, PRUNE + "\nrepair = true"), "prune with repair cannot follow sparse"),
        ((SPARSE, NETADAPT + "\nrepair = true"), "netadapt with repair cannot follow sparse"),
        ((SPARSE, CODEBOOK + "\nvector = 2"), "codebook with vectors cannot follow sparse"),
        (('kind = "extract"', FINETUNE, PRUNE), "prune cannot follow extract"),
        (('kind = "extract"', 'kind = "extract"'), "extract cannot follow extract"),
        ((PRUNE, FINETUNE, 'kind = "extract"'), "extract cannot follow prune"),
        ((LOWRANK, 'kind = "extract"'), "extract cannot follow lowrank"),
        ((COMPACT, 'kind = "extract"'), "extract cannot follow compact"),
    ],
)
def test_steps_that_undo_an_earlier_one_are_refused(
    tmp_path: Path, text: str, steps: tuple[str, ...], where: str
) -> None:
    assert where in _refusal(tmp_path, _with_steps(text, *steps))


@pytest.mark.parametrize(
    "steps",
    [
        (LOWRANK, COMPACT, SPARSE, FINETUNE, QAT, STATIC),
        (PRUNE, CODEBOOK, DYNAMIC),
        (SPARSE, PRUNE, NETADAPT, FINETUNE, CODEBOOK, DYNAMIC),
    ],
)
def test_steps_that_build_on_each_other_are_taken(
    tmp_path: Path, text: str, steps: tuple[str, ...]
) -> None:
    path = tmp_path / "right.toml"
    path.write_text(_with_steps(text, *steps))
    assert len(recipe.load(str(path)).steps) == len(steps)


def test_no_such_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(BadInputError, match=r"nothing\.toml.*birds-quick"):
        recipe.load("nothing.toml")


def test_ratios_that_are_searched_for_must_be_taken_up(tmp_path: Path) -> None:
    text = recipe.find("cifar10-enas-small").read_text()
    begin = text.index('[[steps]]\nkind = "extract"')
    end = text.index("[[steps]]", begin + 1)
    path = tmp_path / "r.toml"
    path.write_text(text[:begin] + text[end:])
    with pytest.raises(BadInputError, match=r'search decides ratios .* kind = "extract", or'):
        recipe.load(path)
    path.write_text(path.read_text().replace("[search]\n", '[search]\ndecide = "cells"\n'))
    recipe.load(path)
