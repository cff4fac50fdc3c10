"""What every mask network of the enhancer is: a form for whole recordings and a form for streams.

    MaskNet     feature [batch, inputs, time] → mask [batch, outputs, time]; trained and pruned
    StreamNet   frame [1, inputs] and states → mask [1, outputs] and new states; deployed

The two share their weights. A network may look ahead: the mask of frame t then depends on the
frames up to t + lookahead, and its stream gives it when it has heard them.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from device.manifest import RingSpec, StateSpec


@dataclass(frozen=True)
class State:
    """One state tensor of a stream: how the host treats it, its input's shape, its meaning."""

    spec: StateSpec
    shape: tuple[int, ...]
    meaning: str


def carried(name: str, shape: tuple[int, ...], meaning: str) -> State:
    """A state whose output is its input one frame later."""
    return State(StateSpec(input=name, output=f"{name}_next"), shape, meaning)


def delayed(name: str, width: int, delays: Sequence[int], meaning: str) -> State:
    """A vector of `width` values that is read again after `delays` frames."""
    ring = RingSpec(width=width, delays=tuple(delays))
    spec = StateSpec(input=name, output=f"{name}_next", rings=(ring,))
    return State(spec, (1, width * len(delays)), meaning)


class StreamNet(nn.Module):
    """Called with a frame and the inputs of `states` in order; gives the mask and their outputs."""

    states: tuple[State, ...]

    def start(self) -> tuple[Tensor, ...]:
        """The states before the first frame."""
        return tuple(torch.zeros(state.shape) for state in self.states)


class MaskNet(nn.Module):
    """The training form."""

    lookahead: int = 0  # frames

    @property
    @abstractmethod
    def answer(self) -> nn.Module:
        """The layer whose outputs are the mask's values: they must stay."""

    @abstractmethod
    def stream(self) -> StreamNet:
        """The deployed form of the network as it is now."""


@torch.no_grad()
def stream_whole(stream: StreamNet, x: Tensor, lookahead: int = 0) -> Tensor:
    """A stream over a sequence [1, inputs, time] → [1, outputs, time]: an oracle.

    Keeps every past output instead of rings: the plain meaning of StateSpec.
    """
    past: list[dict[str, Tensor]] = []
    silence = torch.zeros(lookahead, x.shape[1])
    masks = []
    for frame in torch.cat((x[0].T, silence)):
        inputs = [_remembered(state, past) for state in stream.states]
        mask, *outputs = stream(frame[None], *inputs)
        specs = [state.spec for state in stream.states]
        past.append({s.output: value for s, value in zip(specs, outputs, strict=True)})
        masks.append(mask)
    return torch.stack(masks[lookahead:], -1)


def _remembered(state: State, past: list[dict[str, Tensor]]) -> Tensor:
    spec = state.spec
    if not spec.rings:
        return past[-1][spec.output] if past else torch.zeros(state.shape)
    vectors, start = [], 0
    for ring in spec.rings:
        for delay in ring.delays:
            known = len(past) >= delay
            vector = past[-delay][spec.output][:, start : start + ring.width] if known else None
            vectors.append(torch.zeros(1, ring.width) if vector is None else vector)
        start += ring.width
    return torch.cat(vectors, -1)
