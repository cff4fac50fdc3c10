"""Teachers from files: they see the student's pictures and answer with the student's labels."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress import advance
from compress.distillation import Cached, enhancement, guided, teachers
from compress.distillation.classifiers import columns, plain
from compress.steps import Codebook, Distil, Finetune
from compress.task import Deployed
from device import bundle
from device.errors import BadInputError
from device.manifest import ImageInput, SpectrumInput
from tests.compress import shapes
from tests.compress.distillation import onnx_files, tflite_files
from tests.compress.rnn import texts

FRONT = ImageInput(height=32, width=32, mean=(127, 127, 127), std=(64, 64, 64))


def _student(labels: tuple[str, ...], front: ImageInput | SpectrumInput = FRONT) -> Deployed:
    return Deployed(
        net=nn.Identity(),
        inputs={},
        outputs={},
        states=(),
        preprocessing=front,
        examples=[],
        labels=labels,
    )


def _pictures(front: ImageInput) -> torch.Tensor:
    pixels = torch.zeros(3, 3, 32, 32)
    for index in range(3):
        pixels[index, index] = 255.0  # red, green, blue
    return (pixels - front.mean[0]) / front.std[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Anna_Hummingbird", "Calypte anna (Anna's Hummingbird)"),
        ("American_Three_toed_Woodpecker", "Picoides dorsalis (American Three-toed Woodpecker)"),
        ("background", "background"),
    ],
)
def test_names_of_a_species_meet(one: str, other: str) -> None:
    assert plain(one) == plain(other)


@pytest.mark.parametrize(
    ("labels", "known", "expected"),
    [
        (["class 1", "class 2", "class 3"], ["class 2", "class 1"], [1, 0, -1]),
        (["7", "8"], ["7", "9"], [0, -1]),
        (["山雀", "麻雀", "Mésange"], ["麻雀", "山雀"], [1, 0, -1]),
        (["001.Blue_Jay", "Wren"], ["Wren", "Cyanocitta cristata (Blue Jay)"], [1, 0]),
        (["1 euro", "coin"], ["2 euro", "5 euro", "coin"], [-1, 2]),
        (["---"], ["???"], [-1]),
    ],
)
def test_labels_that_differ_by_numbers_or_in_another_alphabet_are_kept_apart(
    labels: list[str], known: list[str], expected: list[int]
) -> None:
    assert columns(labels, known) == expected


def test_a_bundle_answers_in_the_students_order(classifier: Path) -> None:
    own = bundle.read(classifier).labels
    order = tuple(reversed(own))
    teacher = teachers.load(classifier, None, _student((*order, "Unknown_Bird")))
    answers = teacher(_pictures(FRONT))
    assert answers.shape == (3, len(own) + 1)
    assert bool((answers[:, -1] == -torch.inf).all())
    model = bundle.load(classifier)
    front = model.bundle.manifest.preprocessing
    assert isinstance(front, ImageInput)
    for index in range(3):
        pixels = np.zeros((1, front.height, front.width, 3), np.float32)
        pixels[..., index] = 255
        expected = model({"image": (pixels - np.float32(front.mean)) / np.float32(front.std)})
        np.testing.assert_allclose(
            answers[index, :-1].numpy(), expected["logits"][0, ::-1], rtol=1e-3, atol=1e-3
        )


def test_a_teacher_of_other_things_is_refused(classifier: Path, enhancer: Path) -> None:
    with pytest.raises(BadInputError, match="knows none of the student's labels"):
        teachers.load(classifier, None, _student(("Dodo",)))
    with pytest.raises(BadInputError, match="not a teacher for this task"):
        teachers.load(enhancer, None, _student(("Dodo",)))
    with pytest.raises(BadInputError, match="no such teacher"):
        teachers.load(classifier / "nothing.onnx", None, _student(("Dodo",)))
    with pytest.raises(BadInputError, match="needs labels"):
        teachers.load(classifier / bundle.MODEL, None, _student(("Dodo",)))
    with pytest.raises(BadInputError, match="takes uint8 pixels"):
        labels = classifier / bundle.LABELS
        teachers.load(classifier / bundle.MODEL, labels, _student(bundle.read(classifier).labels))


def test_nobody_looks_into_a_file(classifier: Path, tmp_path: Path) -> None:
    shapes.make_folder(tmp_path / "shapes")
    task = shapes.make_task(tmp_path, shapes.write_recipe(tmp_path / "shapes.toml"))
    task.labels = bundle.read(classifier).labels
    table = Distil(teacher=str(classifier), attention={"stem": "stem"})
    net = task.build()
    with (
        pytest.raises(BadInputError, match="is a file"),
        guided(table, net, task, None, task.example()),
    ):
        pass


def test_a_language_is_learned_from_its_own_baseline_only(tmp_path: Path) -> None:
    task = texts.task(tmp_path)
    net = task.build()
    with (
        pytest.raises(BadInputError, match=r'distil\.teacher: m\.onnx: .* its own "baseline" only'),
        guided(Distil(teacher="m.onnx"), net, task, None, task.example()),
    ):
        pass


def test_an_enhancer_bundle_teaches_by_sound(enhancer: Path) -> None:
    front = bundle.read(enhancer).manifest.preprocessing
    teacher = teachers.load(enhancer, None, _student((), front))
    noisy = 0.1 * torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    sound = teacher(noisy)
    assert sound.shape == noisy.shape
    wanted = enhancement.spectrum(
        teacher,
        noisy,
        lambda _: pytest.fail("no mask"),
        lambda x: torch.stft(x, 512, 256, window=torch.hann_window(512), return_complex=True),
    )
    assert wanted.shape[0] == 2 and bool(torch.isfinite(wanted.abs()).all())


def test_a_foreign_level_is_undone() -> None:
    speech = torch.randn(2, 1000)
    mixture = speech + 0.1 * torch.randn(2, 1000)
    for scale in (0.01, 300.0):
        got = enhancement.at_level(scale * speech, mixture)
        torch.testing.assert_close(got, speech, rtol=0.05, atol=0.05)
    assert bool((enhancement.at_level(torch.zeros(2, 1000), mixture) == 0).all())


class _Slow(nn.Module):
    waveform = True

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += len(x)
        return 2 * x[:, :3]


def test_answers_are_kept_by_content(tmp_path: Path) -> None:
    slow = _Slow()
    cached = Cached(slow, tmp_path / "c" / "answers.sqlite")
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    first = cached(x)
    torch.testing.assert_close(first, 2 * x[:, :3], rtol=1e-3, atol=1e-3)
    again = Cached(slow, tmp_path / "c" / "answers.sqlite")  # another run
    mixed = torch.cat((x[2:3], -x[:1], x[:2]))
    got = again(mixed)
    torch.testing.assert_close(got[[2, 3, 0]], first[:3])
    torch.testing.assert_close(got[1], -first[0])
    assert slow.asked == 5 and (again.hits, again.misses, again.dropped) == (3, 1, 0)
    assert again.waveform
    full = Cached(slow, tmp_path / "c" / "answers.sqlite", limit=1)
    full(10 * x)
    assert full.dropped == 4
    full(10 * x)
    assert full.misses == 8


def test_a_published_bird_classifier_teaches_the_species_it_knows(
    data_folder: Path, tmp_path: Path
) -> None:
    folder = data_folder / "peers" / "coral_inat"
    photos = sorted((data_folder / "birds/cub100/test/Blue_Jay").glob("*.jpg"))[:6]
    if not photos or not folder.is_dir():
        pytest.skip("needs peers/coral_inat and birds/cub100")
    import cv2

    labels = ("Blue_Jay", "Northern_Cardinal", "Dodo")
    (model,) = folder.glob("*.tflite")
    teacher = teachers.load(model, folder / "inat_bird_labels.txt", _student(labels))
    images = [cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB) for p in photos]
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    answers = teacher((batch - 127) / 64)
    assert int((answers.argmax(1) == 0).sum()) >= 5
    assert bool((answers[:, 2] == -torch.inf).all())


@pytest.mark.parametrize("size", [32, "any"])
@pytest.mark.parametrize("softmax", [False, True])
def test_an_onnx_classifier_sees_pictures_as_torchvisions_do(
    tmp_path: Path, size: onnx_files.Size, softmax: bool
) -> None:
    """Its logits are the mean red, green and blue that it sees."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    path, labels = tmp_path / "colours.onnx", tmp_path / "labels.txt"
    operators = ["GlobalAveragePool", "Flatten", *(["Softmax"] if softmax else [])]
    path.write_bytes(onnx_files.chain(*operators, shape=["batch", 3, size, size]))
    labels.write_text("Red\nGreen\nBlue")
    student = _student(("Blue", "Dodo", "Red", "Green"))
    with pytest.raises(BadInputError, match=r"a \.onnx teacher needs labels"):
        teachers.load(path, None, student)
    answers = teachers.load(path, labels, student)(_pictures(FRONT))
    seen = (torch.eye(3) - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    if softmax:
        seen = seen.softmax(1).clamp_min(1 / 512).log()
    torch.testing.assert_close(answers[:, [2, 3, 0]], seen, rtol=1e-4, atol=1e-4)
    assert bool((answers[:, 1] == -torch.inf).all())


@pytest.mark.parametrize("softmax", [False, True])
def test_a_tflite_classifier_may_answer_with_logits(tmp_path: Path, softmax: bool) -> None:
    path, labels = tmp_path / "colours.tflite", tmp_path / "labels.txt"
    path.write_bytes(tflite_files.colours(1, 32, 32, 3, softmax=softmax))
    labels.write_text("Red\nGreen\nBlue")
    answers = teachers.load(path, labels, _student(("Blue", "Dodo", "Red", "Green")))(
        _pictures(FRONT)
    )
    seen = 255 * torch.eye(3) - 100
    if softmax:
        seen = (0.01 * seen).softmax(1).log()
    torch.testing.assert_close(answers[:, [2, 3, 0]], seen, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(8, 32, 32, 3), (1, 32, 32, 1)])
def test_a_tflite_of_other_pictures_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path, labels = tmp_path / "m.tflite", tmp_path / "labels.txt"
    path.write_bytes(tflite_files.colours(*shape))
    labels.write_text("\n".join(["Red", "Green", "Blue"][: shape[3]]))
    with pytest.raises(BadInputError, match=r"takes uint8 pixels \[1, height, width, 3\]"):
        teachers.load(path, labels, _student(("Red",)))


def test_an_onnx_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    path, labels = tmp_path / "m.onnx", tmp_path / "labels.txt"
    labels.write_text("Red\nGreen")
    student = _student(("Red",))
    pooled = ("GlobalAveragePool", "Flatten")
    for operators, shape, reason in (
        (pooled, [1, 3, 32, 32], r"answers with \[3\] values, .*labels.txt has 2 lines"),
        (pooled, [1, 32, 32, 3], r"takes pictures \[1, 3, height, width\]; this model takes"),
        (pooled, [8, 3, 32, 32], r"this model takes \[8, 3, 32, 32\]"),
        (("Nonsense",), [1, 3, 32, 32], "not a usable ONNX model"),
    ):
        path.write_bytes(onnx_files.chain(*operators, shape=shape))
        with pytest.raises(BadInputError, match=reason):
            teachers.load(path, labels, student)
    with pytest.raises(BadInputError, match="not readable labels"):
        teachers.load(path, tmp_path / "none.txt", student)


def test_a_step_knows_its_teachers_by_what_they_hold(classifier: Path, tmp_path: Path) -> None:
    folder, model, labels = tmp_path / "teacher", tmp_path / "m.tflite", tmp_path / "labels.txt"
    shutil.copytree(classifier, folder)
    model.write_bytes(b"one")
    labels.write_text("Wren")
    schedule = {"epochs": 1, "lr": 0.1}

    def keys() -> list[str]:
        tables = [True, {"teacher": str(folder)}, {"teacher": str(model), "labels": str(labels)}]
        tuned = [
            Finetune.model_validate({"kind": "finetune", **schedule, "distil": t}) for t in tables
        ]
        inner = {"kind": "codebook", "finetune": {**schedule, "distil": tables[2]}}
        return [advance.key(step, "parent") for step in (*tuned, Codebook.model_validate(inner))]

    before = keys()
    assert keys() == before
    labels.write_text("Robin")
    relabelled = keys()
    assert [a == b for a, b in zip(before, relabelled, strict=True)] == [True, True, False, False]
    model.write_bytes(b"other")
    manifest = folder / bundle.MANIFEST
    manifest.write_bytes(manifest.read_bytes() + b" ")
    assert [a == b for a, b in zip(relabelled, keys(), strict=True)] == [True, False, False, False]
