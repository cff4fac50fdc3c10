"""An .onnx file that teaches; the runtime is wanted only where there is one."""

from pathlib import Path
from typing import Any

from device.errors import BadInputError


def session(path: Path) -> Any:
    """To be run on one thread.

    Raises:
        BadInputError: onnxruntime is not installed, or cannot run the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BadInputError(f"{path}: needs onnxruntime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options)
    except Exception as error:  # its errors have no common base
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise BadInputError(f"{path}: not a usable ONNX model: {reason}") from error
