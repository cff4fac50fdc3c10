"""Which channels of one group cannot go without each other.

A channel can come twice into what a group joins, as from a block that answers [p, f(p)] into a
residual stream: channel c of the stream is p[c], and channel size + c is f(p)[c]. torch_pruning
then takes both where one is asked for. What goes together is read off the whole group: along every
dependency, a channel of one layer and what it becomes in the next have to be the same.
"""

from typing import Any

from torch_pruning._helpers import _HybridIndex

from compress.criteria.base import Group


def coupled(group: Group, channels: int) -> list[int]:
    """For each of a whole group's channels the first one that must go with it, often itself."""
    first = list(range(channels))
    steps = _steps(group)
    if all(mapping is None for _, dep in steps for mapping in dep.index_mapping):
        return first  # nothing moves channels to other places

    def root(channel: int) -> int:
        while first[channel] != channel:
            channel = first[channel]
        return channel

    known = {
        (member.dep.target, member.dep.handler): dict(
            zip(member.idxs, member.root_idxs, strict=True)
        )
        for member in group
    }
    for member, dep in steps:
        indices = [_HybridIndex(*pair) for pair in zip(member.idxs, member.root_idxs, strict=True)]
        for mapping in dep.index_mapping:
            indices = indices if mapping is None else mapping(indices)
        names = known[dep.target, dep.handler] if indices else {}
        for index in indices:
            low, high = sorted((root(index.root_idx), root(names[index.idx])))
            first[high] = low
    return [root(channel) for channel in range(channels)]


def _steps(group: Group) -> list[tuple[Any, Any]]:
    """Members of a group, and the dependencies that led from them to others."""
    return [
        (member, dep)
        for member in group
        for dep in member.dep.target.dependencies
        if dep.is_triggered_by(member.dep.handler)
    ]
