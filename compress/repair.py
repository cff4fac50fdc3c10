"""Closed-form repair of a pruned network: each layer learns again to say what it said before.

Y. He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017, equation 1
with the channels given (the reconstruction step); J.-H. Luo et al., "ThiNet", ICCV 2017, section
3.2.2, does the same with one factor a channel.

    min over W, b of  Σ_p ‖y(p) − W x(p) − b‖² + λ·‖W − W₀‖²

    C = Σ_p (x − x̄)(x − x̄)ᵀ    B = Σ_p (y − ȳ)(x − x̄)ᵀ    W = (B + λ W₀)(C + λ I)⁻¹

x(p)  [n]    patch that the layer reads, in the pruned network, at a sampled position p
y(p)  [out]  the original network's output there, of the channels that are left
W₀    the weights that pruning left     b  the layer's bias, or what its norm takes away again
λ     the best of RIDGES · tr C / n, or infinite: W = W₀, for a batch that is not fitted [C]

Layers are done in the order in which they run, so each makes up for the errors of those before it
(He's asymmetric reconstruction). [C] Norms use each batch's own statistics meanwhile and get
running ones at the end: least squares shrinks what it cannot explain, a norm restores the scale.
A layer with neither bias nor norm is fitted through the origin. Grouped and depthwise layers are
fitted group by group; transposed and three-dimensional ones stay as they are. Of a layer that is
used more than once, the first use counts.
No labels and no gradients. Memory: batches · POSITIONS · Σ outputs floats, 25 MB for ResNet-20.
"""

import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress import prune
from compress.criteria.filters import kernel, rows, weight
from compress.criteria.members import TINY
from compress.passes import Example, first
from compress.recalibration import Norm, batch_statistics, on_device, recalibrate, usable
from compress.statistics import Loss, part
from compress.task import Batch
from device.errors import BadInputError

RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
POSITIONS = 1024  # of every layer and batch
Layer = nn.Conv1d | nn.Conv2d | nn.Linear


class _Enough(Exception):  # noqa: N818 - no error
    """Ends a forward pass where the rest of it is not needed."""


def repair(
    net: nn.Module,
    original: nn.Module,
    example: Example,
    plan: prune.Plan,
    loss: Loss,
    batches: Sequence[Batch],
) -> None:
    """Fit every layer of `net`, in place; it is `original` without the plan's channels.

    `loss` is called for the forward pass it makes, its value is not used. The last of `batches`,
    two at least, chooses λ.

    Raises:
        BadInputError: there is only one batch that can be used, or `batches` is no sequence.
    """
    batches = usable(net, loss, batches)
    if len(batches) < 2:
        raise BadInputError(
            "repair fits on all batches but the last, which chooses λ: give it two, of fewer "
            "examples each if there are no more"
        )
    left = _left(original, example, plan)
    order = _order(net, loss, batches[0])
    wanted: dict[str, list[Tensor]] = {name: [] for name in order}
    original.eval()
    for index, batch in enumerate(batches):
        told = _calls(original, list(order), loss, batch, partial(_said, index))
        for name, y in told.items():
            wanted[name].append(y[:, left[name]])
    with batch_statistics(net):
        for name, normed in order.items():
            layer = net.get_submodule(name)
            assert isinstance(layer, Layer)
            x = [
                _calls(net, [name], loss, batch, partial(_read, index))[name]
                for index, batch in enumerate(batches)
            ]
            fit(layer, x, wanted[name], centred=normed or layer.bias is not None)
    recalibrate(net, loss, batches)


def fit(layer: Layer, x: Sequence[Tensor], y: Sequence[Tensor], *, centred: bool) -> None:
    """Choose the layer's weights, in place.

    Args:
        x: patches of every batch [positions, groups, n].
        y: what to answer, of every batch [positions, out].
        centred: whether a constant that the layer cannot express does not matter.
    """
    W0 = rows(layer, kernel(layer))
    groups, n = x[0].shape[1:]
    W0 = W0.view(groups, -1, n).double()
    X, X_out = (part.double().transpose(0, 1) for part in (torch.cat(list(x[:-1])), x[-1]))
    Y, Y_out = (
        part.double().view(len(part), groups, -1).transpose(0, 1)
        for part in (torch.cat(list(y[:-1])), y[-1])
    )
    x_mean, y_mean = X.mean(1, keepdim=True), Y.mean(1, keepdim=True)
    if not centred:
        x_mean, y_mean = torch.zeros_like(x_mean), torch.zeros_like(y_mean)
    X, X_out, Y, Y_out = X - x_mean, X_out - x_mean, Y - y_mean, Y_out - y_mean
    C, B = X.mT @ X, Y.mT @ X
    best, least = W0, float((Y_out - X_out @ W0.mT).square().sum())
    for ridge in RIDGES:
        scale = ridge * C.diagonal(dim1=1, dim2=2).mean(1).clamp_min(TINY)
        L = scale[:, None, None] * torch.eye(n, dtype=C.dtype, device=C.device)
        W = torch.linalg.solve(C + L, B + W0 @ L, left=False)
        error = float((Y_out - X_out @ W.mT).square().sum())
        if error < least:
            best, least = W, error
    with torch.no_grad():
        layer.weight.copy_(weight(layer, best.flatten(0, 1)))
        if layer.bias is not None:
            layer.bias.copy_((y_mean - x_mean @ best.mT).flatten())


def _left(original: nn.Module, example: Example, plan: prune.Plan) -> dict[str, Tensor]:
    """The outputs [out'] of every layer that a plan leaves, whatever its parts and segments."""
    marked = prune.copied(original)
    found = {name: layer for name, layer in marked.named_modules() if isinstance(layer, Layer)}
    with torch.no_grad():
        for layer in found.values():
            numbers = torch.arange(len(layer.weight), dtype=layer.weight.dtype)
            layer.weight.copy_(numbers.view(-1, *(1,) * (layer.weight.ndim - 1)))
    prune.remove(marked, example, plan)
    return {name: layer.weight.detach().flatten(1)[:, 0].long() for name, layer in found.items()}


def _order(net: nn.Module, loss: Loss, batch: Batch) -> dict[str, bool]:
    """Layers in the order in which they run, and whether a batch norm reads their output."""
    results: dict[int, tuple[str, int]] = {}
    order: dict[str, bool] = {}
    alive = []  # an output that is gone could give its id to another

    def left(name: str, y: Tensor) -> None:
        order.setdefault(name, False)
        results[id(y)] = name, y._version
        alive.append(y)

    def entered(x: Tensor) -> None:
        name, version = results.get(id(x), ("", -1))
        if version == x._version:  # else something in between has worked in place
            order[name] = True

    handles = []
    for name, module in net.named_modules():
        if isinstance(module, Layer):
            handles.append(module.register_forward_hook(lambda m, x, y, name=name: left(name, y)))
        elif isinstance(module, Norm):
            handles.append(
                module.register_forward_pre_hook(
                    lambda m, x, named: entered(first(x, named)), with_kwargs=True
                )
            )
    try:
        with torch.no_grad():
            loss(net.eval(), on_device(net, part(batch, 0, 1)))
    finally:
        for handle in handles:
            handle.remove()
    return order


def _calls(
    net: nn.Module,
    names: Sequence[str],
    loss: Loss,
    batch: Batch,
    take: Callable[[str, Layer, Tensor, Tensor], Tensor],
) -> dict[str, Tensor]:
    """What `take(name, layer, input, output)` copies of the first call of each of some layers.

    It does so at once, for what comes next may work in place. Runs no further than needed.
    """
    found: dict[str, Tensor] = {}

    def hook(name: str, layer: Layer, x: Tensor, y: Tensor) -> None:
        if name not in found:
            found[name] = take(name, layer, x, y)
        if len(found) == len(names):
            raise _Enough

    handles = []
    for name in names:
        layer = net.get_submodule(name)
        handles.append(
            layer.register_forward_hook(
                lambda m, x, named, y, name=name: hook(name, m, first(x, named), y),
                with_kwargs=True,
            )
        )
    try:
        with torch.no_grad(), suppress(_Enough):
            loss(net, on_device(net, batch))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _said(batch: int, name: str, layer: Layer, x: Tensor, y: Tensor) -> Tensor:
    """Outputs at a layer's positions of a batch, a copy [places, out]."""
    y = _vectors(layer, y)
    return y[_places(name, batch, len(y))]


def _read(batch: int, name: str, layer: Layer, x: Tensor, y: Tensor) -> Tensor:
    """What is read for the same outputs, a copy [places, groups, n]."""
    return _patches(layer, x, _places(name, batch, len(_vectors(layer, y))))


def _vectors(layer: Layer, y: Tensor) -> Tensor:
    """Outputs as [positions, out]."""
    return y.flatten(0, -2) if isinstance(layer, nn.Linear) else y.movedim(1, -1).flatten(0, -2)


def _patches(layer: Layer, x: Tensor, places: Tensor) -> Tensor:
    """What the layer reads at some output positions [places, groups, n]."""
    if isinstance(layer, nn.Linear):
        return x.flatten(0, -2)[places][:, None]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode).contiguous()
    outer, inner, sizes = [x.stride(0)], [x.stride(1)], []
    for axis, (k, s, d) in enumerate(
        zip(layer.kernel_size, layer.stride, layer.dilation, strict=True), start=2
    ):
        sizes.append((x.shape[axis] - d * (k - 1) - 1) // s + 1)
        outer.append(s * x.stride(axis))
        inner.append(d * x.stride(axis))
    shape = (len(x), *sizes, x.shape[1], *layer.kernel_size)
    windows = x.as_strided(shape, (*outer, *inner))  # a view: only the places are copied
    at = torch.unravel_index(places, shape[: 1 + len(sizes)])
    return windows[at].reshape(len(places), layer.groups, -1)


def _places(name: str, batch: int, count: int) -> Tensor:
    """The same positions for the same layer and batch, in both networks."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{name} {batch}".encode()))
    return torch.randperm(count, generator=generator)[:POSITIONS]
