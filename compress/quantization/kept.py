"""Layers that a recipe names to keep float16 weights in an int8 file.

Where sound enters and leaves a network, eight bits are heard in its pauses: DTLN loses .16 PESQ to
them in two of its twelve matrices (benchmarks/quantization.md). `mixed-int8` finds such layers in
networks that bear int8 activations; recurrent ones do not, so here they are named.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from compress.quantization import flatbuffer, schemes
from compress.quantization.flatbuffer import Operator
from compress.quantization.schemes import Rule
from device.errors import BadInputError


def find(source: Path, patterns: Sequence[str]) -> tuple[Operator, ...]:
    """The operators with weights whose layer matches a pattern.

    Raises:
        BadInputError: a pattern matches none; the message lists the layers.
    """
    operators = [operator for operator in flatbuffer.read(source) if operator.weights]
    names = [operator.layer for operator in operators]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise BadInputError(
                f"keep: no layer matches {pattern!r}; there are {', '.join(sorted(set(names)))}"
            )
    return tuple(
        operator
        for operator, name in zip(operators, names, strict=True)
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    )


def rules(operators: Sequence[Operator]) -> list[Rule]:
    """To be added after those of a scheme.

    Raises:
        BadInputError: one cannot have float16 weights.
    """
    return [
        schemes.half(one.name, one.layer, one.outputs[0].name, "leave it out of keep")
        for one in operators
    ]
