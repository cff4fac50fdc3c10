"""Store every matrix of a network in its cheapest form at one limit, or to meet a size."""

from collections.abc import Iterable

from torch import nn

from compress import count, names
from compress.rnn.adopt import projections
from compress.rnn.forms import Candidates, Cost, Shape, by_count, shape_of
from compress.rnn.svd import Rule
from device.errors import FieldwrenError

BISECTIONS = 24  # of the energy: it is then known to 10⁻⁷


class Factorisation:
    """The candidates of all matrices but those whose names match `keep`.

    Raises:
        FieldwrenError: no matrix is left, or a pattern matches none.
    """

    def __init__(self, net: nn.Module, keep: Iterable[str] = ()) -> None:
        self.net, sides = net, projections(net)
        kept = names.matching(keep, sides)
        self.sides = {name: side for name, side in sides.items() if name not in kept}
        if not self.sides:
            raise FieldwrenError(
                "nothing to factorise: keep leaves no matrix: keep fewer"
                if sides
                else "nothing to factorise: the network has no LSTM or GRU layer: take rnn-svd out"
            )
        self.candidates = {name: Candidates(side) for name, side in self.sides.items()}

    def cheapest(self, rule: Rule, limit: float, cost: Cost) -> dict[str, list[Shape]]:
        """The shapes of every matrix."""
        return {name: found.cheapest(rule, limit, cost) for name, found in self.candidates.items()}

    def within(self, parameters: int) -> dict[str, list[Shape]]:
        """The shapes at the largest energy at which the network has no more than `parameters`.

        Raises:
            FieldwrenError: rank 1 everywhere is still larger.
        """
        held = count.parameters(self.net) - sum(
            shape_of(part).parameters for side in self.sides.values() for part in side.parts
        )
        low, high, best = 0.0, 1.0, None
        for _ in range(BISECTIONS):
            energy = (low + high) / 2
            shapes = self.cheapest("energy", energy, by_count)
            if (
                held + sum(shape.parameters for own in shapes.values() for shape in own)
                > parameters
            ):
                high = energy
            else:
                low, best = energy, shapes
        if best is None:
            raise FieldwrenError(
                f"low rank cannot bring the network to {parameters:,} parameters: "
                f"{held:,} are in no matrix that may be factorised"
            )
        return best

    def apply(self, shapes: dict[str, list[Shape]]) -> None:
        """Store the matrices so, in place."""
        for name, own in shapes.items():
            self.sides[name].store(self.candidates[name].stored(own))
