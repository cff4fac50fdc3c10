"""LSTM and GRU layers with explicit state, whose matrices may be stored in any form.

    LSTM  i, f, g, o = W_x x + W_h h + b      c ← σ(f)·c + σ(i)·tanh(g)     h ← σ(o)·tanh(c)
    GRU   r, z = W_x x + W_h h + b            n = tanh(W_xn x + b_n + σ(r)·(W_hn h + d))
                                              h ← (1 − σ(z))·n + σ(z)·h

Gate order is torch's. torch keeps two biases where one does; only GRU's d is a second one.

Two ways lead through a layer. `step` is what is deployed: one input vector, the matrices as they
are stored. A sequence in training goes through torch's fused kernel with the matrices multiplied
out, which is twice as fast on a CPU and the same function; in evaluation it goes step by step.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from device.errors import FieldwrenError
from models.projections import Projection

State = tuple[Tensor, ...]  # LSTM: h, c; GRU: h; each [batch, units]
GATES = {"lstm": 4, "gru": 3}


class Recurrent(nn.Module):
    """One layer, one direction.

    Args:
        weight_drop: share of W_h's weights that are dropped in a training pass (DropConnect).
        bias: without, b and d are zeros that are no parameters.
    """

    bias: Tensor
    candidate: Tensor | None  # GRU: d

    def __init__(
        self,
        kind: Literal["lstm", "gru"],
        inputs: int,
        units: int,
        weight_drop: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.kind, self.weight_drop = kind, weight_drop
        gates, spread = GATES[kind], units**-0.5
        self.x = Projection.fresh(gates, units, inputs, spread)
        self.h = Projection.fresh(gates, units, units, spread)
        lengths = {"bias": gates * units, "candidate": units if kind == "gru" else None}
        for name, length in lengths.items():
            zeros = None if length is None else torch.zeros(length)
            if bias:
                self.register_parameter(name, None if zeros is None else nn.Parameter(zeros))
            else:
                self.register_buffer(name, zeros)

    @property
    def inputs(self) -> int:
        """Width of the input."""
        return self.x.inputs

    @property
    def units(self) -> int:
        """Width of the output."""
        return self.h.inputs

    @property
    def _parts(self) -> int:
        return 2 if self.kind == "lstm" else 1

    def start(self, like: Tensor, batch: int) -> State:
        """Zeros, of the type and place of another tensor."""
        return tuple(like.new_zeros(batch, self.units) for _ in range(self._parts))

    def hold(self, bias: Tensor, candidate: Tensor | None) -> None:
        """Other b and d, shorter where units went; what does not learn goes on not to."""
        for name, value in (("bias", bias), ("candidate", candidate)):
            before = getattr(self, name)
            if isinstance(before, nn.Parameter) and value is not None:
                value = nn.Parameter(value.detach(), before.requires_grad)
            setattr(self, name, value)

    def step(self, x: Tensor, state: State) -> State:
        """x [batch, inputs] → the new state; its first part is the output."""
        return self._cell(self.x(x, self.bias), state)

    def forward(self, sequence: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """[time, batch, inputs] → [time, batch, units] and the last state.

        Raises:
            FieldwrenError: a sequence or a state of another shape.
        """
        if sequence.ndim != 3 or sequence.shape[2] != self.inputs:
            raise FieldwrenError(
                f"{self.kind.upper()} layer: its sequences are [time, batch, {self.inputs}], this "
                f"one is {list(sequence.shape)}"
            )
        batch = sequence.shape[1]
        if state is None:
            state = self.start(sequence, batch)
        elif [part.shape for part in state] != [(batch, self.units)] * self._parts:
            raise FieldwrenError(
                f"{self.kind.upper()} layer: its state is {self._parts} of [{batch}, {self.units}],"
                f" this one is {', '.join(str(list(part.shape)) for part in state)}"
            )
        if self.training:  # the kernel checks nothing: with wrong shapes it writes where it may not
            return self._fused(sequence, state)
        outputs = []
        for projected in self.x(sequence, self.bias):
            state = self._cell(projected, state)
            outputs.append(state[0])
        return torch.stack(outputs), state

    def _cell(self, projected: Tensor, state: State) -> State:
        if self.kind == "lstm":
            h, c = state
            i, f, g, o = (projected + self.h(h)).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            return torch.sigmoid(o) * torch.tanh(c), c
        (h,) = state
        x_r, x_z, x_n = projected.chunk(3, -1)
        h_r, h_z, h_n = self.h(h).chunk(3, -1)
        n = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * (h_n + self.candidate))
        z = torch.sigmoid(x_z + h_z)
        return (n + z * (h - n),)

    def _fused(self, sequence: Tensor, state: State) -> tuple[Tensor, State]:
        w_h = F.dropout(self.h.dense(), self.weight_drop, self.training)
        second = torch.zeros_like(self.bias)
        if self.candidate is not None:
            second = torch.cat((second[: -self.units], self.candidate))
        weights = [self.x.dense(), w_h, self.bias, second]
        options = (True, 1, 0.0, self.training, False, False)
        if self.kind == "lstm":
            output, h, c = torch.lstm(sequence, [part[None] for part in state], weights, *options)
            return output, (h[0], c[0])
        output, h = torch.gru(sequence, state[0][None], weights, *options)
        return output, (h[0],)


class Stack(nn.Module):
    """Layers one after the other, called as nn.LSTM or nn.GRU is.

    Args:
        dropout: between layers, in training.
    """

    bidirectional, proj_size = False, 0

    def __init__(self, layers: list[Recurrent], dropout: float, batch_first: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dropout, self.batch_first = dropout, batch_first

    @property
    def input_size(self) -> int:
        """Width of the input."""
        return self._layers[0].inputs

    @property
    def hidden_size(self) -> int:
        """Width that states must have: that of the widest layer."""
        return max(layer.units for layer in self._layers)

    @property
    def num_layers(self) -> int:
        """How many."""
        return len(self.layers)

    def flatten_parameters(self) -> None:
        """Nothing: there is no memory of cuDNN's to put in order."""

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | State | None = None
    ) -> tuple[Tensor, Tensor | State]:
        """[time, batch, inputs] (or batch first) → outputs, states [layer, batch, widest].

        One sequence may come without a batch, [time, inputs]; its answers then have none, too.
        Layers that lost units fill their part of the states with zeros.

        Raises:
            FieldwrenError: a packed sequence, or states or a sequence of another shape.
        """
        if isinstance(input, PackedSequence):
            raise FieldwrenError(
                "a packed sequence cannot go through a compressed LSTM or GRU: pad the batch"
            )
        given = (hx,) if isinstance(hx, Tensor) else hx
        if alone := input.ndim == 2:
            x = input[:, None]
            given = given and tuple(part.unsqueeze(1) for part in given)
        else:
            x = input.transpose(0, 1) if self.batch_first else input
        layers = self._layers
        units = [layer.units for layer in layers]
        widest = max(units)
        if given is not None:
            self._check(given, (len(layers), x.shape[1], widest))
        ends: list[State] = []
        for index, layer in enumerate(layers):
            own = None
            if given is not None:
                own = tuple(part[index][:, : units[index]].contiguous() for part in given)
            x, end = layer(F.dropout(x, self.dropout, self.training) if index else x, own)
            ends.append(end)
        filled = ([F.pad(part, (0, widest - part.shape[1])) for part in end] for end in ends)
        joined = tuple(torch.stack(parts) for parts in zip(*filled, strict=True))
        if alone:
            x, joined = x[:, 0], tuple(part[:, 0] for part in joined)
        elif self.batch_first:
            x = x.transpose(0, 1)
        return x, joined if len(joined) > 1 else joined[0]

    @property
    def _layers(self) -> list[Recurrent]:
        return [layer for layer in self.layers if isinstance(layer, Recurrent)]

    def _check(self, states: State, wanted: tuple[int, int, int]) -> None:
        for part in states:
            if part.shape != wanted:
                raise FieldwrenError(
                    f"a compressed {self._layers[0].kind.upper()} of {wanted[0]} layers: its states"
                    f" are {list(wanted)}, this one is {list(part.shape)}: make it of num_layers "
                    "and hidden_size"
                )


class Cell(nn.Module):
    """One layer, called as nn.LSTMCell or nn.GRUCell is."""

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        self.layer = layer

    @property
    def input_size(self) -> int:
        """Width of the input."""
        return self.layer.inputs

    @property
    def hidden_size(self) -> int:
        """Width of the output and of the states."""
        return self.layer.units

    def forward(self, input: Tensor, hx: Tensor | State | None = None) -> Tensor | State:
        """[batch, inputs] or [inputs] → h, c (LSTM) or h (GRU).

        Raises:
            FieldwrenError: input or states of another shape.
        """
        given = (hx,) if isinstance(hx, Tensor) else hx
        if input.ndim == 1:
            _, end = self.layer(input[None, None], given and tuple(part[None] for part in given))
            end = tuple(part[0] for part in end)
        else:
            _, end = self.layer(input[None], given)
        own: Tensor | State = end if len(end) > 1 else end[0]
        return own
