"""Recurrent layers of a network in the form that the methods of this package work on.

nn.LSTM, nn.GRU, nn.LSTMCell and nn.GRUCell become layers of models/recurrent.py, which compute
the same (to rounding) and are called in the same way. torch's two biases become one.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from device.errors import FieldwrenError
from models.projections import Matrix, Projection
from models.recurrent import GATES, Cell, Recurrent, Stack

WHOLE, CELLS = (nn.LSTM, nn.GRU), (nn.LSTMCell, nn.GRUCell)


def adopt(net: nn.Module) -> nn.Module:
    """Replace torch's recurrent layers in place, under every name they have; returns the network.

    Raises:
        FieldwrenError: a layer is bidirectional, projects its output, is a plain RNN, or the
            network itself is such a layer and has no place to put another one.
    """
    made: dict[nn.Module, nn.Module] = {}
    for name, module in list(net.named_modules(remove_duplicate=False)):
        if not isinstance(module, nn.RNNBase | nn.RNNCellBase):
            continue
        if not name:
            raise FieldwrenError("the network is a bare recurrent layer: put it into a module")
        if module not in made:
            made[module] = _replacement(name, module)
        parent, _, own = name.rpartition(".")
        setattr(net.get_submodule(parent), own, made[module])
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


def _replacement(name: str, module: nn.Module) -> nn.Module:
    if isinstance(module, nn.LSTM | nn.GRU):
        if module.bidirectional:
            raise FieldwrenError(
                f"{name}: bidirectional: half of it needs the future, which a stream has not; "
                "only one direction can be compressed"
            )
        if module.proj_size:
            raise FieldwrenError(f"{name}: proj_size is not supported: put a linear layer behind")
        layers = [_layer(module, f"_l{index}") for index in range(module.num_layers)]
        return Stack(layers, module.dropout, module.batch_first)
    if isinstance(module, nn.LSTMCell | nn.GRUCell):
        return Cell(_layer(module, ""))
    raise FieldwrenError(f"{name}: {type(module).__name__} is neither LSTM nor GRU")


def _layer(module: nn.Module, suffix: str) -> Recurrent:
    kind: Literal["lstm", "gru"] = "lstm" if isinstance(module, nn.LSTM | nn.LSTMCell) else "gru"

    def own(name: str) -> Tensor:
        return module.get_parameter(f"{name}{suffix}").detach().clone()

    w_x, w_h = own("weight_ih"), own("weight_hh")
    units = w_h.shape[1]
    biased = f"bias_ih{suffix}" in dict(module.named_parameters())
    b_x = own("bias_ih") if biased else torch.zeros(GATES[kind] * units)
    b_h = own("bias_hh") if biased else torch.zeros(GATES[kind] * units)
    layer = Recurrent(kind, w_x.shape[1], units).to(w_x.device, w_x.dtype)
    fill(layer, w_x, w_h, b_x, b_h)
    return layer.train(module.training)


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
