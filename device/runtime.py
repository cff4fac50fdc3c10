"""One wrapper over ai-edge-litert and tflite-runtime, whichever is installed.

Tensors are addressed by their signature key; floats are quantized and dequantized here; an
output that is not finite is an error of its own.
"""

import contextlib
import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from device.errors import BadInputError, NonFiniteError

Array = NDArray[Any]
PACKAGES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the runtime's C++ chatter ("Created TensorFlow Lite XNNPACK delegate") off stderr."""
    sys.stderr.flush()
    saved = os.dup(2)
    with Path(os.devnull).open("wb") as sink:
        os.dup2(sink.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _interpreter_module() -> tuple[str, Any]:
    for package, module in PACKAGES:
        try:
            found = importlib.import_module(module)
        except ImportError:
            continue
        return f"{package} {importlib.metadata.version(package)}", found
    raise BadInputError("no TFLite runtime is installed: pip install ai-edge-litert")


class Runtime:
    """A loaded .tflite model.

    Args:
        model: the file.
        threads: worker threads, at most as many as there are cores.
        delegate: "xnnpack" (the default of both runtimes) or "none" (plain kernels).
    Raises:
        BadInputError: no runtime, no file, not a model this runtime can run, or so many threads.
    """

    def __init__(
        self, model: Path, *, threads: int = 1, delegate: Literal["xnnpack", "none"] = "xnnpack"
    ) -> None:
        cores = os.cpu_count() or 1
        if not 1 <= threads <= cores:  # the runtime takes any number, and crashes
            raise BadInputError(f"threads: {threads} is not from 1 to this machine's {cores} cores")
        package, module = _interpreter_module()
        kinds = module.OpResolverType
        kind = kinds.AUTO if delegate == "xnnpack" else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            content = model.read_bytes()
            with _quiet():
                self._interpreter = module.Interpreter(
                    model_content=content, num_threads=threads, experimental_op_resolver_type=kind
                )
                self._interpreter.allocate_tensors()
                runner = self._interpreter.get_signature_runner()
                # the runner is not kept: while it lives, invoke() is refused
                self._inputs: dict[str, Any] = dict(runner.get_input_details())
                self._outputs: dict[str, Any] = dict(runner.get_output_details())
                del runner
        except FileNotFoundError as error:
            raise BadInputError(f"{model}: no such file") from error
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadInputError(f"{model}: {package} cannot run this model: {reason}") from error
        self._zeros = {
            key: np.zeros(detail["shape"], np.float32) for key, detail in self._outputs.items()
        }
        self.threads = threads
        self.description = f"{package}, {delegate}, {platform.machine()}"

    @property
    def inputs(self) -> dict[str, Any]:
        """Signature key → the runtime's own details (shape, dtype, quantization)."""
        return self._inputs

    @property
    def outputs(self) -> dict[str, Any]:
        """Signature key → the runtime's own details."""
        return self._outputs

    def feed(self, values: Mapping[str, Array]) -> None:
        """Set every input. Floats are quantized where the tensor is integer."""
        for key, detail in self._inputs.items():
            value, dtype = values[key], detail["dtype"]
            if value.dtype != dtype:
                scale, zero = detail["quantization"]
                limits = np.iinfo(dtype)
                value = np.clip(np.rint(value / scale + zero), limits.min, limits.max).astype(dtype)
            self._interpreter.set_tensor(detail["index"], value)

    def invoke(self) -> None:
        """Run the model on the inputs set by `feed`."""
        self._interpreter.invoke()

    def __call__(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Run once: float32 outputs by key, dequantized.

        Raises:
            NonFiniteError: an output holds NaN or infinity.
            BadInputError: the runtime accepted the model and then has no value for an output.
        """
        self.feed(values)
        self.invoke()
        results = {}
        for key, detail in self._outputs.items():
            try:
                value = self._interpreter.get_tensor(detail["index"])
            except ValueError as error:  # XNNPACK, where int8 and float layers of an LSTM alternate
                raise BadInputError(
                    f"{self.description}: cannot run this model: no value for output {key}"
                ) from error
            if value.dtype != np.float32:
                scale, zero = detail["quantization"]
                value = (value.astype(np.float32) - zero) * np.float32(scale)
            # 0·x is 0 unless x is NaN or infinite; isfinite().all() takes twice as long, and an
            # enhancer's many small states took a tenth of its time
            if np.vdot(value, self._zeros[key]) != 0:
                raise NonFiniteError(f"model output {key} is not finite")
            results[key] = value
        return results
