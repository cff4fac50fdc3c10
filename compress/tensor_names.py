"""Our names for a .tflite file's inputs and outputs, in its signature and on its tensors.

The converter numbers them: args_0, args_1, …; output_0, …. A flatbuffer refers to a string by its
distance from the field, so the new ones stand behind everything else and the fields point there:
all other bytes stay, and with them the alignment of weights and what lies behind the flatbuffer.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from device import files

ENTRY_NAME, TENSOR_NAME = 4, 10  # places in the vtables of TensorMap and Tensor (schema.fbs)


def replace(model: Path, names: Mapping[str, str]) -> None:
    """Rename by the keys of the first signature. A tensor that is two outputs has the last name.

    Raises:
        KeyError: a key of the signature has no name.
    """
    content = bytearray(model.read_bytes())
    root = schema.Model.GetRootAs(content, 0)
    signature, graph = root.SignatureDefs(0), root.Subgraphs(0)
    entries = [signature.Inputs(index) for index in range(signature.InputsLength())]
    entries += [signature.Outputs(index) for index in range(signature.OutputsLength())]
    for entry in entries:
        name = names[entry.Name().decode()].encode()
        content += bytes(-len(content) % 4)
        text = len(content)
        content += struct.pack("<I", len(name)) + name + b"\0"
        _point(content, entry, ENTRY_NAME, text)
        _point(content, graph.Tensors(entry.TensorIndex()), TENSOR_NAME, text)
    files.write_bytes(model, bytes(content))


def _point(content: bytearray, holder: Any, field: int, text: int) -> None:
    """Let a string field refer to the text that begins at `text`."""
    place = holder._tab.Pos + holder._tab.Offset(field)
    struct.pack_into("<I", content, place, text - place)
