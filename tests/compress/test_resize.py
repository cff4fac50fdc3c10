"""Pictures of another size half way through a recipe, and a teacher that keeps its own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from compress import pipeline, recipe, report
from compress.distillation import logits
from compress.stages import resize
from compress.steps import Resize
from compress.tasks.birds import Birds
from device import bundle, signing
from device.errors import BadInputError
from tests.compress import shapes
from tests.compress.rnn import texts

STEP = Resize(kind="resize", size=8, train_size=8)


class Seen(nn.Module):
    """Answers with the mean of each colour, and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.pixels.append(x)
        return x.mean((2, 3))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("resize")
    shapes.make_folder(root / "shapes")
    text = shapes.write_recipe(root / "plain.toml").read_text()
    step = '[[steps]]\nkind = "resize"\nsize = 8\ntrain_size = 8\n'
    changed = text.replace('[[steps]]\nkind = "finetune"', f'{step}[[steps]]\nkind = "finetune"')
    (root / "resized.toml").write_text(changed)
    mixed = text.replace("[baseline]", "[loss]\nmixup = 1.0\n[baseline]")
    (root / "mixed.toml").write_text(mixed)
    return root


def _task(root: Path, name: str = "plain") -> Birds:
    return shapes.make_task(root, root / f"{name}.toml")


def test_the_result_has_the_new_size_and_the_baseline_its_own(root: Path) -> None:
    chosen = recipe.load(str(root / "resized.toml"))
    out = root / "out"
    made = pipeline.run(chosen, _task(root), out, 0, Console())
    base = bundle.load(out / "shapes-baseline", policy=signing.Policy.REQUIRED)
    small = bundle.load(out / "shapes", policy=signing.Policy.REQUIRED)
    assert base({"image": np.zeros((1, 16, 16, 3), np.float32)})["logits"].shape == (1, 3)
    assert small({"image": np.zeros((1, 8, 8, 3), np.float32)})["logits"].shape == (1, 3)
    pruned, resized = made.stages[1].macs, made.stages[2].macs
    assert resized == small.bundle.manifest.result.macs
    assert pruned / 4.2 < resized <= pruned / 3.8  # the classifier has no pixels
    assert made.stages[2].parameters == made.stages[1].parameters
    found = made.stages[0].model_copy(update={"kind": "enas"})  # a search comes first
    report.write(made.model_copy(update={"stages": (found, *made.stages)}), root / "searched")
    page = (root / "searched" / "report.html").read_text()
    assert page.count("<td>not trained yet</td>") == 1


def test_a_resized_task_shows_one_view_in_two_sizes(root: Path) -> None:
    task = _task(root)
    small = task.resized(8, 8)
    pixels, labels, full = next(iter(small.batches(0, 0)))
    same, expected = next(iter(task.batches(0, 0)))
    assert pixels.shape == (8, 3, 8, 8)
    assert torch.equal(full, same) and torch.equal(labels, expected)
    areas = full.reshape(8, 3, 8, 2, 8, 2).mean((3, 5))
    assert float((pixels - areas).abs().max()) <= 1 / 128  # one grey level of rounding
    assert small.example().shape == (1, 3, 8, 8) and task.example().shape == (1, 3, 16, 16)


def test_the_teacher_sees_the_size_it_was_trained_with(root: Path) -> None:
    small = _task(root).resized(8, 8)
    batch = next(iter(small.batches(0, 0)))
    student, teacher = Seen(), Seen()
    small.loss(student, batch, teacher)
    small.loss(student, batch, None)
    assert [part.shape[-1] for part in student.pixels] == [8, 8]
    assert [part.shape[-1] for part in teacher.pixels] == [16]


def test_larger_pictures_are_rendered_large(root: Path) -> None:
    pixels, _, full = next(iter(_task(root).resized(16, 32).batches(0, 0)))
    assert pixels.shape[-1] == 32 and full.shape[-1] == 16


def test_mixed_pictures_have_an_answer_and_no_label(root: Path) -> None:
    task = _task(root, "mixed")
    pixels, labels = next(iter(task.batches(0, 0)))
    student, teacher = Seen(), Seen()
    losses = []
    for told in (labels, (labels + 1) % 3):
        torch.manual_seed(0)
        losses.append(float(task.loss(student, (pixels, told), teacher)))
    assert losses == [0.0, 0.0]  # the same mixture for both, who say the same of it
    shown = student.pixels[0]
    assert torch.equal(shown, teacher.pixels[0]) and not torch.equal(shown, pixels)
    share = (shown - pixels.flip(0)) / (pixels - pixels.flip(0))
    for one in share.flatten(1):
        known = one[torch.isfinite(one)]
        assert float(known.max() - known.min()) < 1e-3 and 0 <= float(known.median()) <= 1
    plain = float(task.loss(student, (pixels, labels), None))  # without a teacher nothing is mixed
    assert torch.equal(student.pixels[-1], pixels) and plain > 0


def test_matching_is_the_teachers_part_of_the_loss() -> None:
    random = torch.Generator().manual_seed(0)
    z, a = (2 * torch.randn(6, 5, generator=random) for _ in range(2))
    a[:, 4] = -torch.inf  # a label the teacher does not know
    expected = logits.loss(z, torch.zeros(6, dtype=torch.int64), a, weight=1.0, temperature=3.0)
    assert float(logits.matching(z, a, temperature=3.0)) == pytest.approx(float(expected))


def test_what_cannot_be_resized_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="resize: size: Input should be a multiple of 8"):
        _task(root).resized(9, 8)
    with pytest.raises(BadInputError, match="has no pictures"):
        resize.view(texts.task(tmp_path), STEP)


def test_a_size_that_cannot_be_is_refused_before_anything_is_trained(
    root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text((root / "resized.toml").read_text().replace("\nsize = 8", "\nsize = 9"))
    with pytest.raises(BadInputError, match="resize: size"):
        pipeline.train(recipe.load(str(path)), _task(root), tmp_path / "out", 0, Console())
    assert not (tmp_path / "out").exists()
