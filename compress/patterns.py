"""Where channels may only go together, and which layers between them call for a trial.

A grouped convolution reads part g of its input with part g of its filters, and torch.chunk hands
each part to another layer; a block that answers [p, f(p)] makes the parts of a residual stream
alike. They stay what they are only if the same positions go in every part:

    channels   0 1 2 3 | 4 5 6 7        2 parts of 4 positions
    removed      1         5            position 1

torch_pruning leaves that to its caller. So a plan counts such a group in positions, and they are
spread over the parts when channels are masked or removed.
"""

import math
from typing import Any

import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch_pruning.dependency.node import Node
from torch_pruning.ops import OPTYPE

from compress.coupling import coupled
from compress.criteria.base import Group
from compress.refused import RefusedError
from device.errors import FieldwrenError

# what torch_pruning maps with reservations, or takes for a channel-wise operation
DELICATE = frozenset(OPTYPE) - {
    OPTYPE.CONV,
    OPTYPE.DEPTHWISE_CONV,
    OPTYPE.LINEAR,
    OPTYPE.BN,
    OPTYPE.PRELU,
    OPTYPE.ELEMENTWISE,
    OPTYPE.CONCAT,
    OPTYPE.OUTPUT,
}


def checked(graph: tp.DependencyGraph) -> tp.DependencyGraph:
    """Put what reads the portions of a torch.split into the portions' order.

    torch_pruning finds the readers from the network's end and gives them the portions as found,
    to each another one. Where a portion has several readers, as in C2f blocks, they are told.

    Raises:
        FieldwrenError: the network slices axis 1, where torch_pruning may search for ever.
    """
    shared = False
    for node in graph.module2node.values():
        if node.type == OPTYPE.SLICE and node.module.dim == 1:
            raise FieldwrenError(
                "the network slices axis 1 (x[:, a:b]), where pruning expects channels and cannot "
                "follow: for channels use torch.chunk, or torch.split with sizes that follow the "
                "layers; let time be a later axis"
            )
        if node.type == OPTYPE.SPLIT:
            node.outputs.sort(key=lambda reader, split=node.grad_fn: _portion(reader, split))
            shared |= _share(node)
    for node in graph.module2node.values() if shared else ():
        if node.type == OPTYPE.CONCAT:
            node.module.concat_sizes = None  # was found from other portions
    return graph


def segments(graph: tp.DependencyGraph, group: Group, kinds: tuple[type, ...]) -> list[Group]:
    """A group whose channels are joined from several layers' outputs, as one group per layer.

    Each layer's own count can then be rounded. Where the outputs overlap, or the whole must be
    cut in equal parts, the group stays one.
    """
    channels = len(group[0].idxs)
    if parts(group, channels) > 1:
        return [group]
    found: list[tuple[list[int], Node]] = []
    for member in group:
        node = member.dep.target
        produces = graph.is_out_channel_pruning_fn(member.dep.handler)
        whole = len(member.idxs) == graph.get_out_channels(node) if produces else False
        if whole and isinstance(node.module, kinds) and len(member.idxs) < channels:
            found.append((list(member.root_idxs), node))
    if sorted(channel for own, _ in found for channel in own) != list(range(channels)):
        return [group]
    return [
        graph.get_pruning_group(
            node.module,
            graph.get_pruner_of_module(node.module).prune_out_channels,
            list(range(len(own))),
        )
        for own, node in found
    ]


def portions(
    graph: tp.DependencyGraph, group: Group, channels: int
) -> list[tuple[str, frozenset[int]]]:
    """Layers for which some of a whole group's channels are all they have, and those positions.

    torch.split hands such portions out, torch.cat joins them: one channel of each has to stay.
    """
    found = []
    for member in group:
        node = member.dep.target
        produces = graph.is_out_channel_pruning_fn(member.dep.handler)
        has = graph.get_out_channels(node) if produces else graph.get_in_channels(node)
        own = frozenset(int(index) % channels for index in member.root_idxs)
        if len(member.idxs) == has and len(own) < channels:
            found.append((title(node), own))
    return found


def _portion(reader: Node, split: Any) -> int:
    return min(_read(reader, split), default=0)


def _read(reader: Node, split: Any) -> list[int]:
    """The numbers of the portions that a layer or an operation reads, in its own order."""
    return [number for source, number in reader.grad_fn.next_functions if source is split]


class _Shared(list[int]):
    """Offsets that torch_pruning slices by reader, [n : n + 2], where readers share portions."""

    def __init__(self, bounds: list[tuple[int, int]]) -> None:
        super().__init__([bound for pair in bounds for bound in pair])

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(slice(2 * index.start, 2 * index.start + 2))


def _share(node: Node) -> bool:
    """Give the portions of a split to all that read them, by number; whether that was needed."""
    split, sizes, taken, numbers = node.grad_fn, _sizes(node), dict[Node, int](), []
    for reader in node.outputs:  # as often as it reads
        read, time = _read(reader, split), taken.get(reader, 0)
        if time >= len(read):
            return False
        numbers.append(read[time])
        taken[reader] = time + 1
    if not sizes or len(set(numbers)) == len(numbers):
        return False
    starts = [sum(sizes[:number]) for number in numbers]
    node.module.split_sizes = [sizes[number] for number in numbers]
    node.module.offsets = _Shared(
        [(start, start + sizes[number]) for start, number in zip(starts, numbers, strict=True)]
    )
    return True


def _sizes(node: Node) -> list[int]:
    """The portions that a split of channels was made into."""
    split = node.grad_fn
    if getattr(split, "_saved_dim", None) != 1:
        return []
    if hasattr(split, "_saved_split_sizes"):
        return [int(size) for size in split._saved_split_sizes]
    if not hasattr(split, "_saved_split_size"):
        return []
    size, whole = int(split._saved_split_size), int(split._saved_self_sym_sizes[1])
    return [min(size, whole - start) for start in range(0, whole, size)]


def parts(group: Group, channels: int) -> int:
    """Equal parts of a whole group's channels that must lose the same positions.

    Raises:
        RefusedError: the parts do not line up with the group's channels.
    """
    count = 1
    for member in group:
        own = _parts(member.dep.target)
        if own == 1:
            continue
        count = math.lcm(count, own)
        aligned = list(member.idxs) == list(member.root_idxs) == list(range(channels))
        if not aligned or channels % count:
            raise _refusal(group, f"{title(member.dep.target)} divides them unevenly")
    first = coupled(group, channels)
    size = len(set(first))
    if channels % size or first != [channel % size for channel in range(channels)]:
        raise _refusal(group, "some must go together that are not at the same place of equal parts")
    return math.lcm(count, channels // size)


def spread(positions: tuple[int, ...], size: int, count: int) -> list[int]:
    """The channels at `positions` of each of `count` parts of `size` channels."""
    return [part * size + position for part in range(count) for position in positions]


def delicate(group: Group) -> list[str]:
    """Members that a trial has to prove harmless, in words."""
    nodes = [member.dep.target for member in group]
    return [title(node) for node in nodes if _delicate(node)]


def removable(graph: tp.DependencyGraph, group: Group) -> None:
    """See to it that every layer of a group owns its weights, and holds them as they are.

    Raises:
        RefusedError: a weight is two layers', or is computed from others.
    """
    owners: dict[int, list[str]] = {}
    for name, module in graph.model.named_modules():
        for own, parameter in module.named_parameters(name, recurse=False):
            owners.setdefault(id(parameter), []).append(own)
    for member in group:
        module = member.dep.target.module
        if not isinstance(module, nn.Module):
            continue
        by_hook = isinstance(vars(module).get("weight"), Tensor)  # old-style norms and masks
        if by_hook or parametrize.is_parametrized(module):
            raise _refusal(
                group,
                f"{title(member.dep.target)} computes its weight from others: remove_"
                f"{'weight_norm (or the like)' if by_hook else 'parametrizations'} of "
                "torch.nn.utils makes it plain",
            )
        for parameter in module.parameters(recurse=False):
            if len(owners.get(id(parameter), ())) > 1:
                tied = " and ".join(owners[id(parameter)])
                raise _refusal(group, f"{tied} are one tensor, which cannot be cut in two ways")


def title(node: Node) -> str:
    """A layer's name, or what an operation without a name does."""
    if node.type == OPTYPE.SPLIT:
        return "torch.split or torch.chunk"
    if isinstance(node.module, nn.Parameter):
        return "a parameter outside the known layers"
    name = str(node.name).split(" ")[0]
    return name if name[:1] != "_" else f"a {node.type.name.lower()}"


def _refusal(group: Group, reason: str) -> RefusedError:
    return RefusedError(title(group[0].dep.target), reason)


def _delicate(node: Node) -> bool:
    if node.type == OPTYPE.DEPTHWISE_CONV:  # or as many groups as filters, of several channels
        return bool(node.module.in_channels != node.module.out_channels)
    return node.type in DELICATE or _groups(node) > 1


def _parts(node: Node) -> int:
    split = node.grad_fn
    if node.type == OPTYPE.SPLIT and hasattr(split, "_saved_split_size"):
        # equal parts; those with sizes of their own may lose different positions
        return math.ceil(int(split._saved_self_sym_sizes[1]) / int(split._saved_split_size))
    return _groups(node)


def _groups(node: Node) -> int:
    return int(node.module.groups) if node.type == OPTYPE.CONV else 1
