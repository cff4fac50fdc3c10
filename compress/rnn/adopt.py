"""Recurrent layers of a network in the form that the methods of this package work on.

nn.LSTM, nn.GRU, nn.LSTMCell and nn.GRUCell become layers of models/recurrent.py, which compute
the same (to rounding) and are called in the same way. torch's two biases become one.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from device.errors import FieldwrenError
from models.projections import Matrix, Projection
from models.recurrent import Cell, Recurrent, Stack

KINDS = (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell)
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
PARAMETER_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
Function = tuple[object, ...]  # equal for modules that are one layer: kind, options, weights


def adopt(net: nn.Module) -> nn.Module:
    """Replace torch's recurrent layers in place, under every name they have; returns the network.

    Layers that share all their weights become one layer. What did not learn does not learn.

    Raises:
        FieldwrenError: a layer is bidirectional, projects its output, is a plain RNN, computes in
            a way of its own, has hooks, also of a parameter, has weights that are made of others,
            or shares some of them with another layer; or the network itself is such a layer and
            has no place to put another one. The network is then as it was.
    """
    found = {
        name: module
        for name, module in net.named_modules(remove_duplicate=False)
        if isinstance(module, nn.RNNBase | nn.RNNCellBase)
    }
    for name, module in found.items():
        _check(name, module)
    _check_shared(net)
    made: dict[Function, nn.Module] = {}
    for module in found.values():
        if _function(module) not in made:
            made[_function(module)] = _replacement(module)
    for name, module in found.items():
        parent, _, own = name.rpartition(".")
        setattr(net.get_submodule(parent), own, made[_function(module)])
    return net


def recurrent(net: nn.Module) -> dict[str, Recurrent]:
    """The adopted layers by name, in order.

    Raises:
        FieldwrenError: there is none.
    """
    found = {name: layer for name, layer in net.named_modules() if isinstance(layer, Recurrent)}
    if not found:
        raise FieldwrenError("the network has no LSTM or GRU layer (compress/rnn/adopt.py)")
    return found


def projections(net: nn.Module) -> dict[str, Projection]:
    """Every matrix that can be stored in another form, also of linear layers and tables."""
    return {name: part for name, part in net.named_modules() if isinstance(part, Projection)}


def _check(name: str, module: nn.Module) -> None:
    if not name:
        raise FieldwrenError("the network is a bare recurrent layer: put it into a module")
    if not isinstance(module, KINDS):
        raise FieldwrenError(f"{name}: {type(module).__name__} is neither LSTM nor GRU")
    theirs = next(kind for kind in KINDS if isinstance(module, kind))
    if type(module).forward is not theirs.forward or "forward" in vars(module):
        raise FieldwrenError(
            f"{name}: {type(module).__name__} has a forward of its own, which would be lost: only "
            f"torch's nn.{theirs.__name__} can be compressed"
        )
    for own in _names(module):
        if not isinstance(module._parameters.get(own), nn.Parameter):
            raise FieldwrenError(
                f"{name}: {own} is made of other parameters (weight norm, a parametrization or "
                "torch's pruning): make it one parameter first, as remove_parametrizations and "
                "prune.remove do"
            )
        if any(getattr(module.get_parameter(own), kind) for kind in PARAMETER_HOOKS):
            raise FieldwrenError(  # torch's two biases become one: there is no place for both
                f"{name}: {own} has hooks, which would be lost: remove them, and register them on "
                "the parameters that take its place"
            )
    if any(getattr(module, kind) for kind in HOOKS):  # they may change what it computes
        raise FieldwrenError(
            f"{name}: has hooks, which would be lost: remove them, and register them on the layer "
            "that takes its place"
        )
    if isinstance(module, nn.RNNBase) and module.bidirectional:
        raise FieldwrenError(
            f"{name}: bidirectional: half of it needs the future, which a stream has not; "
            "only one direction can be compressed"
        )
    if isinstance(module, nn.RNNBase) and module.proj_size:
        raise FieldwrenError(f"{name}: proj_size is not supported: put a linear layer behind")


def _check_shared(net: nn.Module) -> None:
    """Weights are shared by whole layers or not at all: a layer would change another one's."""
    holders: dict[int, tuple[str, object]] = {}  # memory → name and place of the first parameter
    for name, values in net.named_parameters(remove_duplicate=False):
        layer, _, own = name.rpartition(".")
        module = net.get_submodule(layer)
        place = own, _function(module)
        first, other = holders.setdefault(_memory(values), (name, place))
        if place != other and any(
            isinstance(net.get_submodule(each.rpartition(".")[0]), KINDS) for each in (first, name)
        ):
            raise FieldwrenError(
                f"{first} and {name} are one parameter: only layers of the same kind and options "
                "that share all their weights can be compressed; give one of them its own"
            )


def _memory(values: Tensor) -> int:
    return values.data_ptr() or id(values)  # empty tensors have no place


def _function(module: nn.Module) -> Function:
    if not isinstance(module, KINDS):
        return (id(module),)
    options: Function = ()
    if isinstance(module, nn.RNNBase):
        options = module.num_layers, module.batch_first, module.dropout
    kind = next(kind for kind in KINDS if isinstance(module, kind))
    weights = (_memory(module.get_parameter(own)) for own in _names(module))
    return (kind, module.training, *options, *weights)


def _names(module: nn.RNNBase | nn.RNNCellBase) -> list[str]:
    """Of the parameters, as torch calls them."""
    own = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if module.bias else [])]
    if isinstance(module, nn.RNNCellBase):
        return own
    return [f"{name}_l{index}" for index in range(module.num_layers) for name in own]


def _replacement(module: nn.RNNBase | nn.RNNCellBase) -> nn.Module:
    made: nn.Module
    if isinstance(module, nn.RNNBase):
        layers = [_layer(module, f"_l{index}") for index in range(module.num_layers)]
        made = Stack(layers, module.dropout, module.batch_first)
    else:
        made = Cell(_layer(module, ""))
    return made.train(module.training)  # a dropout between layers is not for a network at rest


def _layer(module: nn.RNNBase | nn.RNNCellBase, suffix: str) -> Recurrent:
    kind: Literal["lstm", "gru"] = "lstm" if isinstance(module, nn.LSTM | nn.LSTMCell) else "gru"
    w_x, w_h = (module.get_parameter(f"{name}{suffix}") for name in ("weight_ih", "weight_hh"))
    units = w_h.shape[1]
    layer = Recurrent(kind, w_x.shape[1], units, bias=module.bias).to(w_x.device, w_x.dtype)
    b_x = b_h = torch.zeros_like(layer.bias)
    if module.bias:
        b_x, b_h = (module.get_parameter(f"{name}{suffix}") for name in ("bias_ih", "bias_hh"))
        layer.bias.requires_grad_(b_x.requires_grad or b_h.requires_grad)
        if layer.candidate is not None:
            layer.candidate.requires_grad_(b_h.requires_grad)
    fill(layer, *(values.detach().clone() for values in (w_x, w_h, b_x, b_h)))
    layer.x.requires_grad_(w_x.requires_grad)
    layer.h.requires_grad_(w_h.requires_grad)
    return layer


def fill(layer: Recurrent, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor) -> None:
    """Give a layer weights and biases in torch's form and order."""
    layer.x.store([Matrix(w_x.shape[1], [w_x])])
    layer.h.store([Matrix(w_h.shape[1], [w_h])])
    with torch.no_grad():
        layer.bias.copy_(b_x + b_h)
        if layer.candidate is not None:
            n = slice(-layer.units, None)
            layer.bias[n] = b_x[n]
            layer.candidate.copy_(b_h[n])
