"""What layers read while a network runs."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from compress.passes import first


def inputs(net: nn.Module, names: Iterable[str], run: Callable[[], object]) -> dict[str, Tensor]:
    """Everything that the named layers of `net` read while `run` runs it, examples joined.

    The network is in evaluation mode meanwhile and is left as it was; layers that nothing
    reached are not in the result.
    """
    found: dict[str, list[Tensor]] = {}
    training = {module: module.training for module in net.modules()}
    with ExitStack() as hooks, torch.no_grad():
        for name in names:
            seen = found.setdefault(name, [])
            handle = net.get_submodule(name).register_forward_pre_hook(
                lambda _, x, named, seen=seen: seen.append(first(x, named).clone()),
                with_kwargs=True,
            )
            hooks.callback(handle.remove)
        net.eval()
        try:
            run()
        finally:
            for module, mode in training.items():
                module.training = mode
    return {name: torch.cat(seen) for name, seen in found.items() if seen}
