"""What the network being pruned does with training data, measured in one pass for all layers.

Criteria measure while a batch runs through the original network, so nothing is stored but their
sums: memory is that of one batch, beside a few numbers per channel and layer.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as trees

from compress.passes import first
from compress.resting import differentiable, resting
from compress.strided import subsampled
from compress.task import Batch, Task
from device.errors import BadInputError, FieldwrenError

BATCHES = 8
FILTERS = (nn.modules.conv._ConvNd, nn.Linear)  # layers whose output channels are filters


class _First:
    """The first batches of a task's first epoch, as often as they are asked for."""

    def __init__(self, task: Task, seed: int, noise: bool) -> None:
        self._task, self._seed, self._noise = task, seed, noise

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self._seed)
        for inputs, *rest in islice(self._task.batches(0, self._seed), BATCHES):
            if self._noise:
                random = torch.randn(inputs.shape, generator=generator)
                inputs = inputs.mean() + inputs.std() * random
            yield (inputs, *rest)


Loss = Callable[[nn.Module, Batch], Tensor]
Measure = Callable[[nn.Module, Tensor, Tensor], Tensor]  # layer, its input, its output
PerLayer = Mapping[nn.Module, Tensor]


class Found(dict[nn.Module, Tensor]):
    """What a criterion found for all layers, and how to find it again once layers were cut."""

    def __init__(self, gather: Callable[[], PerLayer]) -> None:
        super().__init__(gather())
        self._gather = gather

    def again(self) -> None:
        """Measure the network as it is now.

        Raises:
            FieldwrenError: the batches could be gone through only once.
        """
        new = self._gather()
        self.clear()
        self.update(new)


def placed(batch: Batch, device: torch.device) -> Batch:
    """A batch on a device; like all of these, of any nest of tuples, lists and dicts."""
    return _each(lambda values: values.to(device), batch)


def part(batch: Batch, start: int, end: int) -> Batch:
    """Some examples of a batch."""
    return _each(lambda values: values[start:end], batch)


def count(batch: Batch) -> int:
    """Examples in a batch: as many as its first values are."""
    return len(trees.tree_leaves(batch)[0])


def _each(change: Callable[[Any], Any], batch: Batch) -> Batch:
    if odd := [leaf for leaf in trees.tree_leaves(batch) if not hasattr(leaf, "to")]:
        raise BadInputError(
            f"a batch holds tensors, or tuples, lists and dicts of them; here is {odd[0]!r:.40}"
        )
    found: Batch = trees.tree_map(change, batch)
    return found


class Calibration:
    """A network, its loss, and some training batches to measure on.

    `batches` is gone through once by every criterion that is asked, so more than one criterion
    needs a list or a loader. The network is measured in evaluation mode, where it is the same
    function for every batch, and is left as it was found. What a criterion found is kept until it
    asks for a layer whose channels were cut since; after other changes, make a new one.
    """

    def __init__(self, net: nn.Module, loss: Loss, batches: Iterable[Batch]) -> None:
        self.net, self.loss, self._batches = net, loss, batches
        self._found: dict[Hashable, Found] = {}

    @classmethod
    def of(cls, task: Task, net: nn.Module, seed: int, noise: bool = False) -> "Calibration":
        """The first BATCHES of a task's training batches, made whenever they are needed.

        `noise`: random values in place of the inputs, of the same mean and deviation.
        """
        return cls(
            net,
            lambda net, batch: task.loss(net, batch, None),
            _First(task, seed, noise),
        )

    def once(
        self, gather: Callable[["Calibration", int], Mapping[nn.Module, Tensor]], seed: int
    ) -> Found:
        """What `gather` finds for all layers; measured at the first call, then remembered."""
        key = (gather, seed)
        if key not in self._found:
            self._found[key] = Found(lambda: gather(self, seed))
        return self._found[key]

    def layers(self, kinds: tuple[type[nn.Module], ...] = FILTERS) -> dict[nn.Module, str]:
        """Layers of some kinds and their names, in order."""
        return {m: name for name, m in self.net.named_modules() if isinstance(m, kinds)}

    def forward(
        self, measure: Measure, kinds: tuple[type[nn.Module], ...] = FILTERS
    ) -> dict[nn.Module, Tensor]:
        """Sum of `measure` over every call of every layer, divided by the number of examples."""
        totals: dict[nn.Module, Tensor] = {}

        def hook(layer: nn.Module, inputs: tuple[Any, ...], named: Any, output: Tensor) -> None:
            found = measure(layer, first(inputs, named), output)
            totals[layer] = totals[layer] + found if layer in totals else found

        handles = [
            layer.register_forward_hook(hook, with_kwargs=True) for layer in self.layers(kinds)
        ]
        examples = 0
        try:
            with resting(self.net), torch.no_grad():
                for batch in self.batches():
                    self.loss(self.net, batch)
                    examples += count(batch)
        finally:
            for handle in handles:
                handle.remove()
        return {layer: (total / examples).cpu() for layer, total in totals.items()}

    def losses(self, examples: int | None = None) -> Iterator[Tensor]:
        """The loss of batch after batch, or of so many single examples, to differentiate.

        Raises:
            BadInputError: it is not one number.
        """
        with differentiable(self.net), subsampled(self.net), torch.enable_grad():
            for batch in self.batches() if examples is None else self._single(examples):
                loss = self.loss(self.net, batch)
                if loss.numel() != 1:
                    raise BadInputError(
                        f"the loss of a batch is one number, not {list(loss.shape)}: take the mean "
                        'of its examples, as reduction="mean" does'
                    )
                yield loss

    def gradients(self, examples: int | None = None) -> Iterator[dict[nn.Module, Tensor]]:
        """∂L/∂W of every layer, batch after batch, or for so many single examples."""
        weights = {m: m.weight for m in self.layers() if isinstance(m.weight, Tensor)}
        for loss in self.losses(examples):
            found = torch.autograd.grad(loss, [*weights.values()], allow_unused=True)
            yield {
                layer: torch.zeros_like(weight) if gradient is None else gradient
                for (layer, weight), gradient in zip(weights.items(), found, strict=True)
            }

    def batches(self) -> Iterator[Batch]:
        """The batches, where the network is."""
        device = next(self.net.parameters()).device
        empty = True
        for batch in self._batches:
            empty = False
            yield placed(batch, device)
        if empty:
            raise FieldwrenError(
                "no calibration batches (left): a second criterion, or the same one after layers "
                "were cut, needs a list or a loader"
            )

    def _single(self, examples: int) -> Iterator[Batch]:
        for batch in self.batches():
            for index in range(min(count(batch), examples)):
                yield part(batch, index, index + 1)
            examples -= count(batch)
            if examples <= 0:
                return
