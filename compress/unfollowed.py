"""Groups that torch_pruning finds though it does not follow what happens to their channels.

It takes every operation without weights that it does not know for one that leaves channels in
their places, as ReLU does. What it says of layers further on is then wrong, and trials end with
errors of torch's that tell nobody why.
"""

import torch_pruning as tp
from torch import nn

from compress import patterns
from compress.criteria.base import Group
from compress.refused import RefusedError

SIZED = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase)
GLU = (
    "F.glu halves them, and torch_pruning takes it for an activation: "
    "value, gate = x.chunk(2, 1) and value * gate.sigmoid() is the same and can be pruned"
)
PAD = "F.pad adds channels beside them, which torch_pruning does not follow"


def refuse(graph: tp.DependencyGraph, group: Group) -> None:
    """See to it that a whole group can be what torch_pruning says.

    Raises:
        RefusedError: it cannot.
    """
    if reason := _halved_or_padded(group) or _beyond(graph, group):
        patterns.parts(group, len(group[0].idxs))  # uneven parts say more than what they lead to
        raise RefusedError(patterns.title(group[0].dep.target), reason)


def _halved_or_padded(group: Group) -> str:
    """An operation that changes how many channels there are, in words."""
    behind = _behind(group)
    for member in group:
        operation = member.dep.target.grad_fn
        kind = type(operation).__name__
        if kind.startswith("GluBackward"):
            axes = operation._saved_self.ndim
            dim = operation._saved_dim  # a negative one as if it had no sign, in 64 bits
            if (dim if dim < axes else dim - 2**64 + axes) == axes - 1 - behind:
                return GLU
        pads = operation._saved_pad if kind.startswith("ConstantPad") else ()
        if any(pads[2 * behind : 2 * behind + 2]):  # two for each axis, the last one's first
            return PAD
    return ""


def _behind(group: Group) -> int:
    """Axes behind that of the channels: those of the windows, none for matrices alone."""
    modules = [member.dep.target.module for member in group]
    return max(
        (len(m.kernel_size) for m in modules if isinstance(m, nn.modules.conv._ConvNd)), default=0
    )


def _beyond(graph: tp.DependencyGraph, group: Group) -> str:
    """A layer that would lose channels which it does not have, in words."""
    for member in group:
        node = member.dep.target
        if not isinstance(node.module, SIZED):
            continue
        produces = graph.is_out_channel_pruning_fn(member.dep.handler)
        has = graph.get_out_channels(node) if produces else graph.get_in_channels(node)
        if has <= max(member.idxs):
            name = patterns.title(node)
            return f"torch_pruning would take the same ones from {name}, which has only {has}"
    return ""
