"""torch_pruning's dependency graph of a network, and what it cannot be told to follow.

The graph is traced through autograd on the network itself. Afterwards nothing of that is left in
it: no hook, no tensor that a layer put by, no changed mode.
"""

import copy
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.utils import _pytree as trees
from torch_pruning.dependency import index_mapping

from compress import patterns
from compress.criteria.base import Group
from compress.passes import Example, answers, inputs
from compress.refused import RefusedError
from compress.resting import differentiable, resting
from device.errors import FieldwrenError

ROOTS = (nn.modules.conv._ConvNd, nn.Linear)
FOLLOWED = (  # layers of which the graph knows all that the answer comes from
    *ROOTS,
    nn.RNNBase,
    nn.PReLU,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
)
# what torch_pruning, and a network from which it took the wrong channels, end with
BROKEN = (
    RuntimeError,
    ValueError,
    IndexError,
    KeyError,
    AssertionError,
    ZeroDivisionError,
    TypeError,
    AttributeError,
)


def traced(net: nn.Module, example: Example) -> tp.DependencyGraph:
    """The graph of a network, which is left as it was; an error of its own stays what it is.

    Raises:
        FieldwrenError: torch_pruning cannot follow the network.
    """
    ran = False

    def forward(net: nn.Module, example: Example) -> list[Tensor]:
        nonlocal ran
        found = [one for one in answers(net(*inputs(example))) if one.grad_fn is not None]
        ran = True
        return found

    try:
        with torch.enable_grad(), _unmarked(net), differentiable(net):
            graph = tp.DependencyGraph().build_dependency(net, example, forward, verbose=False)
        patterns.checked(graph)
        index_mapping.update_index_mapping(graph)  # as before every group
    except BROKEN as broken:
        if not ran:
            raise
        raise FieldwrenError(
            "channels cannot be pruned here: torch_pruning does not follow how the network "
            f"reshapes, splits or joins them ({said(broken)}); steps that work on weights, such "
            "as lowrank and sparse, can do without it"
        ) from broken
    return graph


def groups(
    graph: tp.DependencyGraph, kept: Collection[nn.Module]
) -> tuple[list[Group], list[RefusedError]]:
    """Every group that holds no layer of `kept`, and the layers whose group cannot be found.

    Like torch_pruning's get_all_groups, in the same order, but that one's first error ends it.
    Where a layer of one channel scales many, as attention over channels does, that one's group has
    the first of the many, and the rest are in none: such a layer is told, too.
    """
    found, refused, seen = [], [], set[int]()
    offered: dict[nn.Module, tuple[str, set[int]]] = {}  # the group's root, and channels
    ignored = {id(layer) for layer in kept}
    for layer in list(graph.module2node):
        if not isinstance(layer, ROOTS) or id(layer) in seen or id(layer) in ignored:
            continue
        pruner, name = graph.get_pruner_of_module(layer), patterns.title(graph.module2node[layer])
        every = list(range(pruner.get_out_channels(layer)))
        try:
            group = graph.get_pruning_group(layer, pruner.prune_out_channels, every)
        except BROKEN as broken:
            refused.append(RefusedError(name, f"torch_pruning cannot follow them ({said(broken)})"))
            continue
        made = {
            member.dep.target.module: member.idxs
            for member in group
            if graph.is_out_channel_pruning_fn(member.dep.handler)
        }
        for module, channels in made.items():
            offered.setdefault(module, (name, set()))[1].update(channels)
        own = {id(module) for module in made}
        seen |= own
        if not own & ignored:
            found.append(group)
    for layer, (name, channels) in offered.items():
        node = graph.module2node[layer]
        whole = not isinstance(layer, ROOTS) or len(channels) >= graph.get_out_channels(node)
        if not whole and id(layer) not in ignored:
            reason = f"torch_pruning finds only {len(channels)} of them, tied to those of {name}"
            refused.append(RefusedError(patterns.title(node), reason))
    return found, refused


def copied(net: nn.Module) -> nn.Module:
    """A deep copy.

    Raises:
        FieldwrenError: a layer keeps a tensor that still hangs on the pass that made it.
    """
    try:
        return copy.deepcopy(net)
    except RuntimeError as error:
        kept = [
            f"{name}.{key}".lstrip(".")
            for name, module in net.named_modules()
            for key, value in vars(module).items()
            if _hangs(value)
        ]
        raise FieldwrenError(
            f"the network cannot be copied: {', '.join(kept) or said(error)} hangs on the pass "
            "that made it: remove old-style weight norms and masks first (torch.nn.utils.remove_"
            "weight_norm, torch.nn.utils.prune.remove), detach what else a layer keeps"
        ) from error


def idle(net: nn.Module, example: Example) -> frozenset[str]:
    """Names of layers that run though no gradient leads to them from the answer."""
    known = traced(net, example).module2node
    called = set[str]()
    with _entering(net, called.add):
        _run(net, example)
    return frozenset(
        name
        for name, layer in net.named_modules()
        if isinstance(layer, FOLLOWED) and name in called and layer not in known
    )


def stop(net: nn.Module, example: Example) -> str:
    """The last layer that a pass entered, before its error or its end."""
    entered: list[str] = []
    with _entering(net, entered.append), suppress(*BROKEN):
        _run(net, example)
    return entered[-1] if entered else ""


def said(error: BaseException) -> str:
    """The first line of a foreign error."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _run(net: nn.Module, example: Example) -> None:
    with resting(net), torch.no_grad():
        net(*inputs(example))


@contextmanager
def _entering(net: nn.Module, tell: Callable[[str], object]) -> Iterator[None]:
    """Inside, `tell` hears the name of every layer of the FOLLOWED kinds that is called."""

    def enter(name: str) -> None:
        tell(name)

    handles = [
        layer.register_forward_pre_hook(lambda *_, name=name: enter(name))
        for name, layer in net.named_modules()
        if isinstance(layer, FOLLOWED)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _unmarked(net: nn.Module) -> Iterator[None]:
    """Afterwards modules hold no hook and no tensor with a history that they did not before."""
    before: list[tuple[nn.Module, dict[str, Any]]] = [
        (module, {key: _shallow(value) for key, value in vars(module).items()})
        for module in net.modules()
    ]
    try:
        yield
    finally:
        for module, old in before:
            for key in module._forward_hooks.keys() - old["_forward_hooks"].keys():
                del module._forward_hooks[key]
            for key, value in list(vars(module).items()):
                if not _hangs(value):
                    continue
                if key not in old:
                    del vars(module)[key]
                elif isinstance(value, list):
                    value[:] = old[key]
                elif isinstance(value, dict):
                    value.clear()
                    value.update(old[key])
                else:
                    vars(module)[key] = old[key]


def _shallow(value: Any) -> Any:
    return copy.copy(value) if isinstance(value, list | dict) else value


def _hangs(value: object) -> bool:
    """Whether there is a tensor with a history in it."""
    leaves = trees.tree_leaves(value) if isinstance(value, list | dict | tuple) else [value]
    return any(isinstance(leaf, Tensor) and leaf.grad_fn is not None for leaf in leaves)
