"""Hooks that keep what named layers put out, so that two networks can be compared inside."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compress.resting import resting
from device.errors import BadInputError, FieldwrenError
from models.projections import Map, Projection, Table
from models.recurrent import Cell, Recurrent, Stack

AXES = (2, 3, 4)  # batch, channels and up to two of positions
RECURRENT = (nn.RNNBase, nn.RNNCellBase, Recurrent, Stack, Cell)  # put out their states, too
FEATURES_LAST = (nn.Linear, Map, Table, Projection, *RECURRENT)  # no maps: vectors


def channels_first(layer: nn.Module, output: Any) -> Any:
    """What a layer puts out, features of vectors on axis 1 as channels of maps are.

    [batch, time, features] or [time, batch, features] → [first axis, features, second axis].
    """
    if isinstance(layer, RECURRENT) and isinstance(output, tuple):
        output = output[0]
    if isinstance(layer, FEATURES_LAST) and isinstance(output, Tensor) and output.ndim > 2:
        output = output.movedim(-1, 1)
    return output


class Taps:
    """Outputs of some layers in the newest pass.

    Args:
        net: the network; its outputs are kept with their gradients where there are any.
        names: its layers.
        learning: keep only passes that can be learned from, not those that score.

    Raises:
        BadInputError: a layer is not there.
    """

    def __init__(self, net: nn.Module, names: Iterable[str], *, learning: bool) -> None:
        self.outputs: dict[str, Tensor] = {}
        modules = dict(net.named_modules())
        missing = [name for name in names if name not in modules]
        if missing:
            some = ", ".join(name for name in modules if name)[:200]
            raise BadInputError(f"{type(net).__name__} has no layer {missing[0]!r}; it has {some}…")
        self._handles = [
            modules[name].register_forward_hook(self._hook(name, learning)) for name in names
        ]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.outputs:
            raise FieldwrenError(
                f"layer {name} is not called by itself in this training: name one inside it"
            )
        return self.outputs[name]

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str, learning: bool) -> Callable[[nn.Module, Any, Any], None]:
        def keep(layer: nn.Module, _inputs: Any, output: Any) -> None:
            if not learning or torch.is_grad_enabled():
                self.outputs[name] = channels_first(layer, output)

        return keep


def seen(
    student: nn.Module, teacher: nn.Module, pairs: Mapping[str, str], example: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """What both layers of every pair put out for an example, before anything is trained.

    Raises:
        BadInputError: a layer does not put out one tensor [batch, channels, …], or those of a pair
            have not as many axes.
    """
    outputs = []
    for net, names in ((student, pairs.keys()), (teacher, pairs.values())):
        taps = Taps(net, names, learning=False)
        with resting(net), torch.no_grad():
            net(example)
        taps.close()
        outputs.append([taps[name] for name in names])
        for name, output in zip(names, outputs[-1], strict=True):
            if not isinstance(output, Tensor) or output.ndim not in AXES:
                raise BadInputError(
                    f"{type(net).__name__}'s layer {name} does not put out one tensor "
                    "[batch, channels, positions]: name a layer that does"
                )
    found = list(zip(*outputs, strict=True))
    for (own, other), (s, t) in zip(pairs.items(), found, strict=True):
        if s.ndim != t.ndim:
            raise BadInputError(
                f"layer {own} puts out {s.ndim} axes, the teacher's {other} {t.ndim}: one cannot "
                "be compared with the other"
            )
    return found


def like(teacher: Tensor, student: Tensor) -> Tensor:
    """The teacher's maps averaged to the student's spatial size; float32, without gradient."""
    teacher = teacher.detach().float()
    if teacher.shape[2:] == student.shape[2:]:
        return teacher
    if teacher.ndim == 4:
        return nn.functional.adaptive_avg_pool2d(teacher, (student.shape[2], student.shape[3]))
    return nn.functional.adaptive_avg_pool1d(teacher, student.shape[2])
