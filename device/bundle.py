"""A bundle: a folder with a model, what it needs to be used, and the proof that it works.

    name-version/  model.tflite  labels.txt  golden.npz  manifest.json  manifest.json.sig

Loading checks hashes, then the signature, then runs the golden vectors: anything wrong refuses
the bundle with its reason. Nothing is ever pickled.
"""

import base64
import binascii
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from pydantic import ValidationError

from device import files, signing
from device.errors import BadInputError, NonFiniteError, first_problem
from device.manifest import Manifest, TensorSpec
from device.runtime import Runtime

log = logging.getLogger(__name__)

MODEL, LABELS, GOLDEN = "model.tflite", "labels.txt", "golden.npz"
MANIFEST, SIGNATURE = "manifest.json", "manifest.json.sig"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are as its manifest says."""

    path: Path
    manifest: Manifest
    labels: tuple[str, ...]
    signed: bool

    @property
    def model(self) -> Path:
        """The .tflite file."""
        return self.path / MODEL

    @property
    def model_sha256(self) -> str:
        """What identifies the model in messages and reports."""
        return self.manifest.files[MODEL]


class Model:
    """A bundle's model, called with the manifest's tensor names."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.bundle = bundle
        self.runtime = Runtime(bundle.model, threads=threads)
        manifest = bundle.manifest
        self._keys = {t.name: t.key for t in manifest.inputs}
        self._names = {t.key: t.name for t in manifest.outputs}
        _check_tensors(bundle.path, manifest.inputs, self.runtime.inputs)
        _check_tensors(bundle.path, manifest.outputs, self.runtime.outputs)

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Float inputs by name → float outputs by name. NonFiniteError on NaN or infinity."""
        outputs = self.runtime({self._keys[name]: value for name, value in values.items()})
        return {self._names[key]: value for key, value in outputs.items()}


def read(
    path: Path,
    policy: signing.Policy = signing.Policy.WARN,
    key_folders: Iterable[Path] = (),
) -> Bundle:
    """Check hashes and signature without running the model.

    Raises:
        BadInputError: not a bundle, a file that differs from its hash, a label count that does
            not fit the model, or (policy "required") no trusted signature.
    """
    if not path.is_dir():
        raise BadInputError(f"{path}: no such bundle folder")
    try:
        content = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise BadInputError(f"{path}: not a bundle: it has no readable {MANIFEST}") from error
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise BadInputError(f"{path / MANIFEST}: {first_problem(error)}") from error
    for required in (MODEL, GOLDEN):
        if required not in manifest.files:
            raise BadInputError(f"{path / MANIFEST}: files: {required} has no hash")
    for name, expected in manifest.files.items():
        part = path / name
        if part.resolve().parent != path.resolve():
            raise BadInputError(f"{path / MANIFEST}: files: {name} lies outside the bundle")
        if not part.is_file():
            raise BadInputError(f"{part}: missing, the manifest lists it")
        if files.sha256(part) != expected:
            raise BadInputError(
                f"{part}: differs from its hash in the manifest: corrupt or changed"
            )
    return Bundle(
        path,
        manifest,
        _labels(path, manifest),
        _check_signature(path, content, policy, key_folders),
    )


def load(
    path: Path,
    *,
    threads: int = 1,
    policy: signing.Policy = signing.Policy.WARN,
    key_folders: Iterable[Path] = (),
) -> Model:
    """Read a bundle, load its model and run the golden vectors on this machine.

    Raises:
        BadInputError: as `read`, or the model does not run or does not reproduce its outputs.
    """
    model = Model(read(path, policy, key_folders), threads=threads)
    verify_golden(model)
    return model


@dataclass(frozen=True)
class Golden:
    """Largest |output − golden| of one output, and how much is allowed."""

    output: str
    error: float
    allowed: float


def verify_golden(model: Model) -> Golden:
    """The output that comes nearest to its tolerance on this machine, runtime and delegate.

    golden.npz holds `in.<name>` and `out.<name>`, first axis = example.

    Raises:
        BadInputError: not such a file, beyond the manifest's tolerance, or not finite.
    """
    bundle = model.bundle
    golden = _golden(bundle)
    inputs = [t.name for t in bundle.manifest.inputs]
    outputs = [t.name for t in bundle.manifest.outputs]
    errors = dict.fromkeys(outputs, 0.0)
    for example in range(len(golden[f"in.{inputs[0]}"])):
        try:
            results = model({name: golden[f"in.{name}"][example] for name in inputs})
        except NonFiniteError as error:
            raise BadInputError(f"{bundle.path}: refused: {error}") from error
        for name in outputs:
            off = np.abs(results[name] - golden[f"out.{name}"][example]).max()
            errors[name] = float(np.maximum(errors[name], off))  # NaN stays NaN
    found = [Golden(name, error, bundle.manifest.tolerance(name)) for name, error in errors.items()]
    for one in found:
        if not one.error <= one.allowed:
            raise BadInputError(
                f"{bundle.path}: refused: golden outputs differ by {one.error:.2g} ({one.output}) "
                f"on {model.runtime.description}, allowed {one.allowed:.2g}"
            )
    return max(found, key=lambda one: one.error / one.allowed)


def sign(folder: Path, key: Ed25519PrivateKey) -> None:
    """Sign the folder's manifest.json."""
    signature = base64.b64encode(key.sign((folder / MANIFEST).read_bytes()))
    files.write_bytes(folder / SIGNATURE, signature + b"\n")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json; its hashes must already be those of the folder's files."""
    text = manifest.model_dump_json(by_alias=True, indent=1)
    files.write_bytes(folder / MANIFEST, text.encode() + b"\n")


def _golden(bundle: Bundle) -> dict[str, NDArray[np.float32]]:
    """The examples: for every tensor an array of as many of its values, at least one."""
    path, manifest = bundle.path / GOLDEN, bundle.manifest
    try:
        with np.load(path, allow_pickle=False) as stored:
            golden = dict(stored)
    except Exception as error:  # zip, zlib and numpy have a dozen kinds for a file that is none
        raise BadInputError(f"{path}: not a readable .npz file of plain arrays") from error
    specs = {f"in.{t.name}": t for t in manifest.inputs}
    specs |= {f"out.{t.name}": t for t in manifest.outputs}
    for name, spec in specs.items():
        if name not in golden:
            raise BadInputError(f"{path}: has no {name}")
        found = np.asarray(golden[name])  # bytes, where the zip holds something else
        if found.dtype != np.float32 or found.ndim < 1 or found.shape[1:] != spec.shape:
            raise BadInputError(
                f"{path}: {name} is {found.dtype} {list(found.shape)}, "
                f"needed is float32 {['examples', *spec.shape]}"
            )
    counts = {len(golden[name]) for name in specs}
    if len(counts) > 1:
        raise BadInputError(f"{path}: unequal numbers of examples: {sorted(counts)}")
    if counts == {0}:
        raise BadInputError(f"{path}: holds no example, and so proves nothing")
    return golden


def _labels(path: Path, manifest: Manifest) -> tuple[str, ...]:
    if manifest.task != "classify":
        return ()
    if LABELS not in manifest.files:
        raise BadInputError(f"{path}: a classifier bundle needs {LABELS}")
    try:
        labels = tuple((path / LABELS).read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path / LABELS}: not UTF-8: save it as such") from error
    classes = (manifest.outputs[0].shape or (1,))[-1]
    if len(labels) != classes:
        raise BadInputError(
            f"{path / LABELS}: {len(labels)} labels, but the model has {classes} outputs"
        )
    return labels


def _check_signature(
    path: Path, content: bytes, policy: signing.Policy, key_folders: Iterable[Path]
) -> bool:
    if policy is signing.Policy.OFF:
        return False
    signed = False
    if (path / SIGNATURE).is_file():
        try:
            signature = base64.b64decode((path / SIGNATURE).read_bytes().strip(), validate=True)
        except binascii.Error:
            signature = b""
        signed = signing.is_trusted(content, signature, signing.trusted_keys(key_folders))
    if not signed:
        reason = f"{path}: no trusted key signed this bundle"
        if policy is signing.Policy.REQUIRED:
            raise BadInputError(f"{reason} (put its public key in {signing.user_keys()})")
        log.warning("%s", reason)
    return signed


def _check_tensors(path: Path, specs: tuple[TensorSpec, ...], found: Mapping[str, Any]) -> None:
    for spec in specs:
        if spec.key not in found:
            raise BadInputError(f"{path}: the model has no tensor {spec.key} ({spec.name})")
        shape = tuple(int(n) for n in found[spec.key]["shape"])
        if shape != spec.shape:
            raise BadInputError(
                f"{path}: tensor {spec.name} is {shape}, the manifest says {spec.shape}"
            )
    names = {spec.key: spec.name for spec in specs}
    if names.keys() != found.keys() or len(set(names.values())) != len(specs):
        raise BadInputError(
            f"{path}: the manifest must list each of the model's tensors once, under a name of "
            f"its own: {', '.join(sorted(found))}"
        )
