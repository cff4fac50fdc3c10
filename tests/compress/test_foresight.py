"""What a recipe gets wrong is said before its baseline is trained."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytest import CaptureFixture
from rich.console import Console

from compress import foresight, pipeline, recipe
from compress.steps import Distil, Finetune
from compress.tasks import enhancer
from device.errors import BadInputError, FieldwrenError
from tests.compress import shapes, sounds
from tests.compress.distillation import tflite_files

STEP = '[[steps]]\nkind = "finetune"'
SVD = '[[steps]]\nkind = "rnn-svd"\nenergy = 0.9'
UNITS = '[[steps]]\nkind = "rnn-units"\ncriterion = "l1"\nratio = 0.5'
LOWRANK = '[[steps]]\nkind = "lowrank"\nform = "channel"\nenergy = 0.9'
CICR = '[[steps]]\nkind = "cicr"\nlimits = {{ {} = 0.1 }}'
COMPACT = '[[steps]]\nkind = "compact"\nblock = "shuffle"\nlayers = [{}]'
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
        (STEP, f"{UNITS}\n{STEP}", "rnn-units: the network has no LSTM or GRU layer"),
        (STEP, f"{SVD}\n{STEP}", "rnn-svd: the network has no LSTM or GRU layer"),
        (STEP, f"{LOWRANK}\n{SVD}\n{STEP}", "rnn-svd: the network has no LSTM or GRU layer"),
        (STEP, f"{CICR.format('stoi')}\n{STEP}", r"^cicr: limits\.stoi: there are top1, top5$"),
        *(
            (
                STEP,
                f"{COMPACT.format(named)}\n{STEP}",
                f'^layers: no two-dimensional .* called "{odd}"; there are stem.*first',
            )
            for named, odd in (
                ('"*conv2"', r"\*conv2"),
                ('"blocks.0.*", "typo*"', r"typo\*"),
                ('"blocks.0.*", "classifier"', "classifier"),
            )
        ),
        *(
            ("distil = true", f"distil = {{ {table} }}", f"^finetune: {message}")
            for table, message in (
                ('hints = { "blocks.0" = "blocks.9" }', r"ResNet has no layer 'blocks\.9'"),
                ('hints = { "blocks.9" = "blocks.0" }', r"ResNet has no layer 'blocks\.9'"),
                ('attention = { "stem" = "blocks.9" }', r"ResNet has no layer 'blocks\.9'"),
                ('attention = { "classifier" = "stem" }', "layer classifier puts out .* axes"),
                ('teacher = "FILE", hints = { "stem" = "stem" }', r".*teacher\.tflite: a"),
            )
        ),
    ],
)
def test_it_is_said_before_anything_is_trained(
    old: str, new: str, message: str, root: Path, tmp_path: Path
) -> None:
    path = shapes.write_recipe(tmp_path / "recipe.toml")
    (root / "teacher.tflite").touch()
    new = new.replace("FILE", str(root / "teacher.tflite"))
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(FieldwrenError, match=message):
        pipeline.train(recipe.load(str(path)), shapes.make_task(root, path), tmp_path, 0, Console())
    assert not (tmp_path / "stages").exists()


@pytest.mark.parametrize("out", ["/proc/none", "FILE", "FILE/runs"])
@pytest.mark.parametrize("start", [pipeline.run, pipeline.train])
def test_a_folder_that_takes_no_results_is_said_before_anything_is_trained(
    out: str, start: Callable[..., object], root: Path, tmp_path: Path, capsys: CaptureFixture
) -> None:
    path = shapes.write_recipe(tmp_path / "recipe.toml")
    place = Path(out.replace("FILE", str(path)))
    with pytest.raises(BadInputError, match=r"results cannot be written there \(.*give another .*"):
        start(recipe.load(str(path)), shapes.make_task(root, path), place, 0, Console())
    assert "epoch" not in capsys.readouterr().out


def test_layers_may_have_other_names_after_a_step(root: Path, tmp_path: Path) -> None:
    """What a factorised layer is made of is called as nothing in the fresh network is."""
    path = shapes.write_recipe(tmp_path / "recipe.toml")
    pruned, lowrank = '[[steps]]\nkind = "prune"\ncriterion = "l1"\n', f"{LOWRANK}\n"
    named = path.read_text().replace(pruned, f'{pruned}keep = ["blocks.0.first.0"]\n')
    task = shapes.make_task(root, path)
    path.write_text(named.replace(pruned, lowrank + pruned))
    foresight.check(recipe.load(str(path)), task, task.build())
    path.write_text(named)
    with pytest.raises(FieldwrenError, match="keep: no layer is called"):
        foresight.check(recipe.load(str(path)), task, task.build())


def test_a_students_layers_may_have_other_names_after_a_step_but_not_its_teachers(
    root: Path, tmp_path: Path
) -> None:
    path = shapes.write_recipe(tmp_path / "recipe.toml")
    text, task = path.read_text().replace(STEP, f"{LOWRANK}\n{STEP}"), shapes.make_task(root, path)

    def check(own: str, other: str) -> None:
        hints = f'distil = {{ hints = {{ "{own}" = "{other}" }} }}'
        path.write_text(text.replace("distil = true", hints))
        foresight.check(recipe.load(str(path)), task, task.build())

    check("blocks.0.first.0", "stem")
    with pytest.raises(FieldwrenError, match=r"^finetune: ResNet has no layer 'blocks\.9'"):
        check("stem", "blocks.9")


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

    svd = '[[steps]]\nkind = "rnn-svd"\nenergy = 0.9\nkeep = ["encoder.lstms.0.layers.0.x"]\n'
    qat = '[[steps]]\nkind = "qat"\nscheme = "dynamic-int8"\nepochs = 1\nlr = 0.01\n'
    quantize = '[[steps]]\nkind = "quantize"\nscheme = "dynamic-int8"\n'
    check(gates + adopted)
    check(svd + adopted)
    check(gates + svd)
    for before in ("", svd):
        with pytest.raises(FieldwrenError, match=r"encoder\.lstms\.0: quant.* this LSTM float"):
            check(before + qat + quantize)
    with pytest.raises(FieldwrenError, match="keep: no layer is called"):
        check(adopted)


def test_what_a_file_teaches_is_asked_for_before_anything_is_trained(
    root: Path, tmp_path: Path
) -> None:
    path, labels = shapes.write_recipe(tmp_path / "recipe.toml"), tmp_path / "labels.txt"
    teacher, cache = tmp_path / "t.tflite", tmp_path / "cache"
    teacher.write_bytes(tflite_files.colours(1, 32, 32, 3))
    table = f'{{ teacher = "{teacher}", labels = "{labels}", cache = "{cache}" }}'
    path.write_text(path.read_text().replace("distil = true", f"distil = {table}"))
    task = shapes.make_task(root, path)
    labels.write_text("ox\nowl\nelk")
    with pytest.raises(BadInputError, match=r"^finetune: .*knows none of the student's labels"):
        foresight.check(recipe.load(str(path)), task, task.build())
    labels.write_text("red\ngreen\nblue")
    net, state = task.build(), torch.get_rng_state()
    before = copy.deepcopy(net.state_dict())
    foresight.check(recipe.load(str(path)), task, net)
    assert torch.equal(torch.get_rng_state(), state) and not cache.exists()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_teacher_that_hears_another_length_is_told_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    teacher = tmp_path / "t.tflite"
    teacher.write_bytes(tflite_files.double((1, 50)))
    step = Finetune(kind="finetune", epochs=1, lr=0.01, distil=Distil(teacher=str(teacher)))
    loaded = recipe.load("enhancer-quick").model_copy(update={"steps": (step,)})
    settings = enhancer.Settings.model_validate(sounds.SMALL)
    task = enhancer.make(settings, (sounds.make_folder(tmp_path / "data"),), 0)
    with pytest.raises(BadInputError, match=r"^finetune: .* takes 50 samples at once"):
        foresight.check(loaded, task, task.build())
