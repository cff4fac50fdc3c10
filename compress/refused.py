"""What cannot be pruned, as an error that names the layer, the reason and what to do."""

from collections.abc import Sequence

from device.errors import FieldwrenError

NAMED = 4  # members that a message names


class RefusedError(FieldwrenError):
    """Why the channels of a layer's group cannot be removed, and what to do."""

    def __init__(self, layer: str, reason: str) -> None:
        self.layer, self.reason = layer, reason
        super().__init__(
            f"{layer}: its channels cannot be removed, {reason}; "
            f'keep = ["{layer}"] leaves them whole'
        )


def together(refusals: Sequence[RefusedError]) -> FieldwrenError:
    """Some refusals as one, with one `keep` for all."""
    if len(refusals) == 1:
        return refusals[0]
    layers: dict[str, list[str]] = {}
    for refusal in refusals:
        layers.setdefault(refusal.reason, []).append(refusal.layer)
    reasons = [f"{few(own)} ({reason})" for reason, own in layers.items()]
    names = ", ".join(f'"{refusal.layer}"' for refusal in refusals)
    return FieldwrenError(
        f"some channels cannot be removed, those of {few(reasons)}; "
        f"keep = [{names}] leaves them whole"
    )


def few(names: Sequence[str]) -> str:
    """The first of some names, each once, and how many there are besides."""
    once = list(dict.fromkeys(names))
    rest = [f"{len(once) - NAMED} more"] if len(once) > NAMED else []
    return ", ".join(once[:NAMED] + rest)
