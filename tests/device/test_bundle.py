"""Loading a bundle: everything that is wrong refuses it, with the reason."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from device import bundle, signing
from device.errors import BadInputError
from tests import bundles

Change = Callable[[NDArray[np.float32]], NDArray[np.float64]]


def test_a_good_bundle_answers_by_name(classifier: Path) -> None:
    model = bundle.load(classifier, policy=signing.Policy.REQUIRED)
    image = np.zeros((1, 32, 32, 3), np.float32)
    image[..., 1] = 1
    logits = model({"image": image})["logits"]
    assert model.bundle.labels[int(logits.argmax())] == "green"
    assert model.bundle.signed


@pytest.mark.parametrize("name", ["model.tflite", "golden.npz", "labels.txt"])
def test_a_changed_file_is_refused(classifier: Path, name: str) -> None:
    content = bytearray((classifier / name).read_bytes())
    content[len(content) // 2] ^= 1
    (classifier / name).write_bytes(content)
    with pytest.raises(BadInputError, match=f"{name}: differs from its hash"):
        bundle.load(classifier)


def test_a_changed_manifest_loses_its_signature(classifier: Path) -> None:
    path = classifier / bundle.MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"seed": 7}))
    with pytest.raises(BadInputError, match="no trusted key signed"):
        bundle.load(classifier, policy=signing.Policy.REQUIRED)
    assert not bundle.load(classifier, policy=signing.Policy.WARN).bundle.signed


def test_a_strangers_signature_is_not_trusted(classifier: Path, tmp_path: Path) -> None:
    stranger = signing.own_key(tmp_path / "stranger")
    bundle.sign(classifier, stranger)
    with pytest.raises(BadInputError, match="no trusted key"):
        bundle.read(classifier, signing.Policy.REQUIRED)
    assert bundle.read(classifier, signing.Policy.REQUIRED, [tmp_path / "stranger"]).signed


def test_wrong_label_count_is_refused(classifier: Path) -> None:
    (classifier / bundle.LABELS).write_text("red\ngreen\n")
    bundles.rewrite_manifest(classifier)
    with pytest.raises(BadInputError, match="2 labels, but the model has 4 outputs"):
        bundle.load(classifier)


def test_a_corrupt_model_is_refused_by_the_runtime(classifier: Path) -> None:
    (classifier / bundle.MODEL).write_bytes(b"TFL3 but nothing more")
    bundles.rewrite_manifest(classifier)
    with pytest.raises(BadInputError, match="cannot run this model"):
        bundle.load(classifier)


def test_labels_that_are_no_text_are_refused(classifier: Path) -> None:
    (classifier / bundle.LABELS).write_bytes("rot\ngrün\nblau\nnichts\n".encode("latin-1"))
    bundles.rewrite_manifest(classifier)
    with pytest.raises(BadInputError, match=r"labels\.txt: not UTF-8"):
        bundle.load(classifier)


@pytest.mark.parametrize("field", ["inputs", "outputs"])
def test_a_model_without_inputs_or_outputs_is_refused(classifier: Path, field: str) -> None:
    bundles.rewrite_manifest(classifier, **{field: ()})
    with pytest.raises(BadInputError, match=rf"manifest\.json: {field}: .* at least 1 item"):
        bundle.load(classifier)


@pytest.mark.parametrize("field", ["inputs", "outputs"])
@pytest.mark.parametrize("same", [(), ("key", "shape"), ("name",)])
def test_each_tensor_is_listed_once_under_its_own_name(
    enhancer: Path, field: str, same: tuple[str, ...]
) -> None:
    first, second = getattr(bundle.read(enhancer).manifest, field)
    alike = second.model_copy(update={name: getattr(first, name) for name in same})
    bundles.rewrite_manifest(enhancer, **{field: (first, alike) if same else (first,)})
    with pytest.raises(BadInputError, match=r"list each of the model's tensors once.*_0, .*_1"):
        bundle.load(enhancer)


def test_a_classifier_with_one_answer_needs_one_label(classifier: Path) -> None:
    (only,) = bundle.read(classifier).manifest.outputs
    bundles.rewrite_manifest(classifier, outputs=(only.model_copy(update={"shape": ()}),))
    with pytest.raises(BadInputError, match="4 labels, but the model has 1 outputs"):
        bundle.load(classifier)


def npy(value: NDArray[np.float32]) -> bytes:
    """A single array as np.save writes it, without a zip around it."""
    content = io.BytesIO()
    np.save(content, value)
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no zip",
        b"PK\x03\x04 no zip either",
        npy(np.zeros(3, np.float32)),
        pickle.dumps({"in.image": 0}),
    ],
    ids=["empty", "text", "damaged", "npy", "pickle"],
)
def test_a_golden_file_that_is_none_is_refused(classifier: Path, content: bytes) -> None:
    (classifier / bundle.GOLDEN).write_bytes(content)
    bundles.rewrite_manifest(classifier)
    with pytest.raises(BadInputError, match=r"golden\.npz: not a readable \.npz file") as caught:
        bundle.load(classifier)
    assert "\n" not in str(caught.value)


def test_golden_objects_are_not_unpickled(classifier: Path) -> None:
    np.savez(classifier / bundle.GOLDEN, **{"in.image": np.array([{}], dtype=object)})
    bundles.rewrite_manifest(classifier)
    with pytest.raises(BadInputError, match=r"golden\.npz: not a readable \.npz file"):
        bundle.load(classifier)


def _rewrite_golden(folder: Path, changes: dict[str, Change]) -> None:
    """Put other arrays into a bundle's golden file, and its hash into the manifest."""
    with np.load(folder / bundle.GOLDEN) as stored:
        golden = dict(stored)
    for name, change in changes.items():
        golden[name] = change(golden[name])
    np.savez(folder / bundle.GOLDEN, **golden)
    bundles.rewrite_manifest(folder)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("in.image", lambda a: a.astype(np.float64), r"in\.image is float64 \[4, 1, 32, 32, 3\]"),
        ("out.logits", lambda a: a.astype(np.float64), r"out\.logits is float64 \[4, 1, 4\]"),
        ("in.image", lambda a: a[:, :, 1:], r"in\.image is float32 \[4, 1, 31, 32, 3\]"),
        ("out.logits", lambda a: a[:, :, :1], r"out\.logits is float32 \[4, 1, 1\]"),
        ("out.logits", lambda a: a[0, 0, 0], r"out\.logits is float32 \[\]"),
        ("out.logits", lambda a: a[:3], "unequal numbers of examples"),
        ("in.image", lambda a: a[:3], "unequal numbers of examples"),
    ],
)
def test_golden_arrays_unlike_the_tensors_are_refused(
    classifier: Path, name: str, change: Change, reason: str
) -> None:
    _rewrite_golden(classifier, {name: change})
    with pytest.raises(BadInputError, match=rf"golden\.npz: {reason}"):
        bundle.load(classifier)


def test_no_example_is_no_proof(classifier: Path) -> None:
    _rewrite_golden(classifier, dict.fromkeys(("in.image", "out.logits"), lambda a: a[:0]))
    with pytest.raises(BadInputError, match=r"golden\.npz: holds no example"):
        bundle.load(classifier)


def test_wrong_golden_outputs_are_refused(classifier: Path) -> None:
    _rewrite_golden(classifier, {"out.logits": lambda a: a + np.float32(0.01)})
    with pytest.raises(BadInputError, match=r"golden outputs differ by 0\.01"):
        bundle.load(classifier)


def test_each_output_may_have_its_own_tolerance(enhancer: Path) -> None:
    """One tolerance of large states lets a mask of 0…1 through, whatever it says."""
    with np.load(enhancer / bundle.GOLDEN) as stored:
        golden = dict(stored)
    golden["out.mask"] = golden["out.mask"] - 0.3
    np.savez(enhancer / bundle.GOLDEN, **golden)
    bundles.rewrite_manifest(enhancer, golden_tolerance=0.4)
    bundle.load(enhancer)  # as bundles were made
    bundles.rewrite_manifest(enhancer, golden_tolerances={"newest": 0.4})
    found = bundle.verify_golden(bundle.load(enhancer))
    assert (found.output, found.allowed) == ("mask", 0.4)
    assert found.error == pytest.approx(0.3, abs=1e-5)
    bundles.rewrite_manifest(enhancer, golden_tolerances={"mask": 0.1})
    with pytest.raises(BadInputError, match=r"differ by 0\.3 \(mask\) on .*, allowed 0\.1"):
        bundle.load(enhancer)


def test_a_golden_output_that_is_no_number_is_refused(classifier: Path) -> None:
    _rewrite_golden(classifier, {"out.logits": lambda a: np.full_like(a, np.nan)})
    with pytest.raises(BadInputError, match="golden outputs differ by nan"):
        bundle.load(classifier)


def test_more_threads_than_cores_are_refused(classifier: Path) -> None:
    for threads in (0, 100_000):
        with pytest.raises(BadInputError, match=f"threads: {threads} is not from 1 to this"):
            bundle.load(classifier, threads=threads)


def test_nan_is_refused(tmp_path: Path) -> None:
    folder = bundles.make_nan_enhancer(tmp_path / "nan")
    with pytest.raises(BadInputError, match="not finite"):
        bundle.load(folder)


def test_a_path_outside_the_bundle_is_refused(classifier: Path) -> None:
    path = classifier / bundle.MANIFEST
    manifest = json.loads(path.read_text())
    manifest["files"]["../outside"] = "0" * 64
    path.write_text(json.dumps(manifest))
    with pytest.raises(BadInputError, match="outside the bundle"):
        bundle.read(classifier)


def test_missing_pieces_are_named(tmp_path: Path, classifier: Path) -> None:
    with pytest.raises(BadInputError, match="no such bundle folder"):
        bundle.read(tmp_path / "nowhere")
    (classifier / bundle.GOLDEN).unlink()
    with pytest.raises(BadInputError, match=r"golden\.npz: missing"):
        bundle.read(classifier)
    (classifier / bundle.MANIFEST).write_text("{}")
    with pytest.raises(BadInputError, match=r"manifest\.json: .*required"):
        bundle.read(classifier)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("std", "0"),
        ("std", "-1"),
        ("std", "1e-50"),  # is 0 in float32
        ("std", "1e300"),
        ("std", "NaN"),
        ("std", "Infinity"),
        ("mean", "1e300"),  # is infinite in float32
        ("mean", "NaN"),
        ("mean", "-Infinity"),
    ],
)
def test_a_preprocessing_without_finite_results_is_refused(
    classifier: Path, field: str, value: str
) -> None:
    path = classifier / bundle.MANIFEST
    manifest = json.loads(path.read_text())
    manifest["preprocessing"][field][1] = "here"
    path.write_text(json.dumps(manifest).replace('"here"', value))
    with pytest.raises(BadInputError, match=rf"preprocessing\.image\.{field}\.1: Input should be"):
        bundle.read(classifier)


@pytest.mark.parametrize("field", ["temperature", "golden_tolerance"])
def test_what_would_let_anything_pass_is_refused(classifier: Path, field: str) -> None:
    path = classifier / bundle.MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {field: float("inf")}))
    with pytest.raises(BadInputError, match=f"{field}: Input should be a finite number"):
        bundle.read(classifier)
