"""What became of every layer: the network before and after, line by line."""

from torch import nn

from compress.quantization.learned import Ranges


def modules(before: nn.Module, after: nn.Module) -> str:
    """Lines of a unified diff over the leaf modules; those that stayed are left out.

    What quantization-aware training remembers of ranges is no layer, and left out, too.
    """
    old, new = _leaves(before), _leaves(after)
    lines = []
    for name in [*old, *(name for name in new if name not in old)]:
        if old.get(name) == new.get(name):
            continue
        lines += [
            f"{sign} {name}: {side[name]}"
            for sign, side in (("-", old), ("+", new))
            if name in side
        ]
    return "\n".join(lines)


def _leaves(net: nn.Module) -> dict[str, str]:
    return {
        name: repr(module)
        for name, module in net.named_modules()
        if next(module.children(), None) is None and not isinstance(module, Ranges)
    }
