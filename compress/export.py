"""A trained network → model.tflite, its golden vectors, and the proof that both agree.

The float32 file must reproduce torch; the quantized file's distance from torch is reported; the
golden vectors are the file's own outputs, so that a device can tell a damaged or misread model.
"""

import contextlib
import copy
import io
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compress import quantization, tensor_names
from compress.figures import Figure
from compress.quantization.learned import learned
from compress.quantization.mixed import Sensitivity
from compress.quantization.sqnr import LayerError
from compress.steps import Quantize
from compress.task import Deployed, OneStep
from device import files
from device.errors import FieldwrenError
from device.manifest import TensorSpec
from device.runtime import Runtime

CHECKED = 4  # examples on which files are compared with torch, and golden vectors if none are made
PARITY = 1e-4  # largest |float32 TFLite − torch|, relative to the largest output
GOLDEN_FLOAT, GOLDEN_INT8 = 1e-3, 0.1  # tolerance on a device, of an output's largest value
IN_FLOAT = ("fp32", "fp16", "weight-int8")  # schemes whose arithmetic is float32
Named = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Exported:
    """A model file and what was found about it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    audit: quantization.Audit
    float_error: float  # largest |float32 TFLite − torch| over the largest |output|
    error: float  # the same for the deployed file
    relative_rms: float  # RMS of (deployed − torch) over torch's standard deviation, worst output
    golden_tolerances: dict[str, float]  # by output
    errors: tuple[LayerError, ...] = ()  # of every layer, quantized against float
    sensitivities: tuple[Sensitivity, ...] = ()  # mixed precision only
    figures: tuple[Figure, ...] = ()


def export(deployed: OneStep, numbers: Quantize, model: Path, golden: Path) -> Exported:
    """Write the model and its golden vectors. A `Deployed` one's tensors bear their own names.

    Raises:
        FieldwrenError: conversion failed, the float32 file does not reproduce torch, a weight was
            not quantized, or a bundle would hold examples in the place of golden vectors.
    """
    if isinstance(deployed, Deployed) and not deployed.golden:
        raise FieldwrenError(
            "the task made up no golden vectors, and its examples may not travel in a bundle: "
            "Deployed.golden must not be empty"
        )
    names = list(deployed.inputs)
    keys = {name: f"args_{index}" for index, name in enumerate(names)}
    outputs = {name: f"output_{index}" for index, name in enumerate(deployed.outputs)}
    chosen = deployed.examples[:CHECKED]
    expected = [_torch(deployed, example) for example in chosen]
    plain = model.with_suffix(".float.tflite")
    convert(deployed, plain)
    float_error = _error(_run(plain, keys, outputs, chosen), expected)
    if not float_error <= PARITY:
        raise FieldwrenError(
            f"the exported model differs from torch by {float_error:.2g} of its largest output, "
            f"allowed {PARITY:.2g}"
        )
    quantization.say_if_fewer(numbers, len(deployed.examples))
    with silent():
        quantized = quantization.quantize(
            plain, numbers, by_key(deployed, deployed.examples), model, learned(deployed.net)
        )
    plain.unlink()
    if isinstance(deployed, Deployed):  # a bundle's; whoever runs other parts counts their tensors
        by_name = {key: name for side in (keys, outputs) for name, key in side.items()}
        tensor_names.replace(model, by_name)
        keys, outputs = {name: name for name in keys}, {name: name for name in outputs}
    results = _run(model, keys, outputs, chosen)
    kept = list(deployed.golden) or chosen
    answers = _run(model, keys, outputs, kept)
    stored = {f"in.{name}": np.stack([example[name] for example in kept]) for name in names}
    stored |= {f"out.{name}": np.stack([answer[name] for answer in answers]) for name in outputs}
    with files.replacing(golden) as temporary, temporary.open("wb") as target:
        np.savez_compressed(target, allow_pickle=False, **stored)
    runtime = Runtime(model)
    largest = {n: float(np.abs([answer[n] for answer in answers]).max()) for n in outputs}
    relative = GOLDEN_FLOAT if numbers.scheme in IN_FLOAT else GOLDEN_INT8
    return Exported(
        inputs=tuple(_spec(n, keys[n], deployed.inputs[n], runtime.inputs) for n in names),
        outputs=tuple(_spec(n, outputs[n], deployed.outputs[n], runtime.outputs) for n in outputs),
        audit=quantized.audit,
        float_error=float_error,
        error=_error(results, expected),
        relative_rms=_relative_rms(results, expected),
        golden_tolerances={n: max(relative * value, 1e-6) for n, value in largest.items()},
        errors=quantized.errors,
        sensitivities=quantized.sensitivities,
        figures=quantized.figures,
    )


def by_key(deployed: OneStep, examples: Sequence[Named]) -> list[Named]:
    """Examples by the converter's keys (`convert`) instead of the tensors' names."""
    keys = {name: f"args_{index}" for index, name in enumerate(deployed.inputs)}
    return [{keys[name]: example[name] for name in keys} for example in examples]


def convert(deployed: OneStep, target: Path) -> None:
    """Write the network as float32 .tflite.

    Raises:
        FieldwrenError: the converter does not take this network.
    """
    values = tuple(torch.from_numpy(deployed.examples[0][name]) for name in deployed.inputs)
    write(deployed.net, values, target)


def write(net: nn.Module, values: tuple[Tensor, ...], target: Path) -> None:
    """Convert any module, for inputs shaped as `values`, to float32 .tflite.

    Raises:
        FieldwrenError: the converter does not take it.
    """
    # litert-torch 0.10 writes kernels stored channels-last with their axes mixed up
    net = copy.deepcopy(net).eval()
    net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    try:
        with silent():
            import litert_torch  # slow, and full of warnings

            # not to a file: the converter ends the process, without a word, where a disk is full
            content = litert_torch.convert(net, values).model_content()
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FieldwrenError(f"the network cannot be converted to TFLite: {reason}") from error
    files.write_bytes(target, content)


def _torch(deployed: OneStep, example: Named) -> Named:
    with torch.no_grad():
        results = deployed.net(*(torch.from_numpy(example[name]) for name in deployed.inputs))
    return {name: value.numpy() for name, value in zip(deployed.outputs, results, strict=True)}


def _run(
    model: Path, inputs: dict[str, str], outputs: dict[str, str], examples: list[Named]
) -> list[Named]:
    runtime = Runtime(model)
    results = []
    for example in examples:
        found = runtime({inputs[name]: example[name] for name in inputs})
        results.append({name: found[key] for name, key in outputs.items()})
    return results


def _error(results: list[Named], expected: list[Named]) -> float:
    worst = 0.0
    for name in expected[0]:
        largest = max(float(np.abs(want[name]).max()) for want in expected)
        off = max(
            float(np.abs(got[name] - want[name]).max())
            for got, want in zip(results, expected, strict=True)
        )
        worst = max(worst, off / max(largest, 1e-12))
    return worst


def _relative_rms(results: list[Named], expected: list[Named]) -> float:
    worst = 0.0
    for name in expected[0]:
        got = np.stack([result[name] for result in results])
        want = np.stack([result[name] for result in expected])
        rms = float(np.sqrt(((got - want) ** 2).mean()))
        worst = max(worst, rms / max(float(want.std()), 1e-12))
    return worst


def _spec(name: str, key: str, meaning: str, details: dict[str, Any]) -> TensorSpec:
    detail = details[key]
    dtype: Literal["float32", "int8", "uint8"] = np.dtype(detail["dtype"]).name
    scale, zero = detail["quantization"]
    return TensorSpec(
        name=name,
        key=key,
        shape=tuple(int(size) for size in detail["shape"]),
        dtype=dtype,
        scale=float(scale) if dtype != "float32" else None,
        zero_point=int(zero) if dtype != "float32" else None,
        meaning=meaning,
    )


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep the converter's progress lines off the terminal; it prints to both streams from C++."""
    saved = [(stream, os.dup(stream)) for stream in (1, 2)]
    logging.disable(logging.WARNING)
    try:
        with Path(os.devnull).open("wb") as sink, contextlib.redirect_stdout(io.StringIO()):
            for stream, _ in saved:
                os.dup2(sink.fileno(), stream)
            yield
    finally:
        logging.disable(logging.NOTSET)
        for stream, copy in saved:
            os.dup2(copy, stream)
            os.close(copy)
