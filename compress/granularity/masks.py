"""Which grains go, and how what went stays away.

    uniform   the same share of the grains of every layer
    global    one ranking of all grains of all layers, by score; a layer keeps at least one grain

A removed weight is zero, and zero is its mark: nothing else has to be stored, and a copy, a resumed
training or a channel removed later all keep it. While a network trains, the gradient of a weight
that is exactly zero is set to zero; with it momentum, Adam's moments and weight decay, which all
start from the gradient and the weight, are zero, too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from compress.policies.ranking import ascending

HELD = "zeros_held"  # attribute of a parameter whose gradient is masked


def zero(
    layers: Mapping[str, nn.Module],
    scores: Mapping[nn.Module, Tensor],
    grain: Callable[[Tensor], Tensor],
    sparsity: float,
    scope: Literal["uniform", "global"],
) -> dict[str, float]:
    """Set the lowest grains of the layers to zero; returns each layer's share of zeros."""
    scored = {name: grain(scores[layer]) for name, layer in layers.items()}
    if scope == "global":
        kept = dict(zip(scored, _kept([*scored.values()], sparsity), strict=True))
    else:
        kept = {name: _kept([values], sparsity)[0] for name, values in scored.items()}
    found = {}
    for name, layer in layers.items():
        W = layer.weight
        assert isinstance(W, nn.Parameter)
        with torch.no_grad():
            W.mul_(kept[name])
        found[name] = float((W == 0).float().mean())
    return found


def hold(layers: Iterable[nn.Module]) -> None:
    """Keep zeros of these layers' weights at zero in all training to come, copies included."""
    for layer in layers:
        layer.register_forward_pre_hook(_armed)


def arm(net: nn.Module) -> None:
    """Before a training whose forward pass puts other tensors in the place of the weights.

    A layer that is held then sees no parameter of its own when it is called.
    """
    for layer in net.modules():
        if held(layer):
            _arm(layer)


def held(layer: nn.Module) -> bool:
    """Whether a layer's zeros are kept at zero."""
    return _armed in layer._forward_pre_hooks.values()


def _kept(scores: Sequence[Tensor], sparsity: float) -> list[Tensor]:
    """True where grains stay, of every layer in one ranking: exactly that share of all goes.

    A layer's best grain stays. Equal scores, as of weights that are zero already, are shared out
    over the layers.
    """
    ranks = [own.flatten().clone() for own in scores]
    for own in ranks:
        own[own.argmax()] = torch.inf
    order = ascending(ranks)
    stay = torch.ones(len(order), dtype=torch.bool, device=order.device)
    stay[order[: min(len(order) - len(ranks), round(sparsity * len(order)))]] = False
    parts = torch.split(stay, [len(own) for own in ranks])
    return [part.view_as(own) for part, own in zip(parts, scores, strict=True)]


def _armed(layer: nn.Module, _: Any) -> None:
    # a copy of a module copies its hooks but not its parameters' hooks, and removing channels
    # makes new parameters: so the parameter is asked at every training step
    if layer.training:
        _arm(layer)


def _arm(layer: nn.Module) -> None:
    W = layer.weight
    if isinstance(W, nn.Parameter) and not hasattr(W, HELD) and W.requires_grad:
        W.register_hook(lambda gradient, W=W: gradient * (W.detach() != 0))  # type: ignore[no-untyped-call]
        setattr(W, HELD, True)
