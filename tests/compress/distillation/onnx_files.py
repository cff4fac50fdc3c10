"""Small ONNX files, written field by field: the package that makes them is not needed."""

from collections.abc import Sequence

Size = int | str  # a number, or the name of one that is left open


def chain(*operators: str, shape: Sequence[Size]) -> bytes:
    """x [shape] → the operators, one after the other → y; "Add" adds a value to itself."""
    names = [b"x", *(f"t{index}".encode() for index in range(len(operators) - 1)), b"y"]
    nodes = b""
    for operator, given, made in zip(operators, names, names[1:], strict=False):
        inputs = _field(1, given) * (2 if operator == "Add" else 1)
        nodes += _field(1, inputs + _field(2, made) + _field(4, operator.encode()))
    graph = nodes + _field(2, b"g") + _field(11, _value(b"x", shape)) + _field(12, _value(b"y"))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 13))


def _field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return bytes([number << 3, content])
    length = len(content)
    size = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    return bytes([number << 3 | 2]) + size + content


def _value(name: bytes, shape: Sequence[Size] | None = None) -> bytes:
    kind = _field(1, 1)  # float32
    if shape is not None:
        sizes = (_field(1, s) if isinstance(s, int) else _field(2, s.encode()) for s in shape)
        kind += _field(2, b"".join(_field(1, size) for size in sizes))
    return _field(1, name) + _field(2, _field(1, kind))
