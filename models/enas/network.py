"""The network around the cells: before, during and after a search.

    stem     conv 3 × 3 to 3F channels, batch norm
    layers   L + 2 cells; layers L // 3 and 2 (L // 3) + 1 are reductions: they halve height and
             width and double the filters
    answer   ReLU, mean over the image, dropout, linear

Every cell reads the outputs of the two layers before it, the stem standing in for both at first:
each calibrated to the cell's filters by ReLU, 1 × 1 convolution, batch norm, or by a factorised
reduction if it is still twice as large; the second once more by a ReLU, 1 × 1 convolution, batch
norm of the cell itself. The loose states of a cell are concatenated. That is the form of ENAS's
final networks; used for the search as well, it makes a child exactly what was searched.

Without an architecture the network is the space: it holds the weights of every edge, `forward`
runs the one path it is given, readers take the columns of the states that are loose on it, and
batch norm uses the batch's own statistics. `settle` makes it one child, freshly initialised.

    ENAS's published cells, 32 × 32, 10 classes    parameters    multiply-accumulates
    F = 36, L = 15                                 3.89 M        620.9 M
    F =  8, L = 3                                  78.3 k         13.6 M
    F =  8, L = 6                                 123.4 k         21.6 M
"""

import torch.nn.functional as F
from torch import Tensor, fx, nn

from device.errors import BadInputError
from models.enas.architecture import INPUTS, Architecture
from models.enas.cell import Cell, Fake, Place, State

STEM = 3  # the stem has so many times F channels


def unchanged(place: Place, ratio: float, x: Tensor) -> Tensor:
    """No fake pruning."""
    return x


def _traced(given: object) -> bool:
    """Is it a stand-in? torch.fx traces what a child does with x, and fills every argument."""
    return isinstance(given, fx.Proxy)


class Enas(nn.Module):
    """[batch, 3, H, W] → logits [batch, classes]; H and W multiples of 4.

    Args:
        classes: answers.
        filters: F, channels of the first cells; even.
        layers: L, normal cells.
        nodes: of each cell.
        architecture: of the child; None for the space.
        drop_path: probability at the last layer, falling linearly towards the first.
        dropout: in front of the classifier.
    """

    def __init__(
        self,
        classes: int,
        filters: int,
        layers: int,
        nodes: int = 5,
        architecture: Architecture | None = None,
        *,
        drop_path: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.classes, self.filters, self.layers, self.nodes = classes, filters, layers, nodes
        self.drop_path, self.dropout = drop_path, dropout
        self.settle(architecture)

    @property
    def reductions(self) -> tuple[int, int]:
        """Layers that halve the image."""
        third = self.layers // 3
        return third, 2 * third + 1

    def settle(self, architecture: Architecture | None) -> None:
        """Become the child of an architecture, or the space, with new weights.

        Raises:
            ValueError: the architecture has another number of nodes.
        """
        if architecture is not None and len(architecture.normal.nodes) != self.nodes:
            raise ValueError(f"the architecture has {len(architecture.normal.nodes)} nodes a cell")
        self.architecture = architecture
        depth, width = self.layers + 2, self.filters
        tracked = architecture is not None
        self.stem = nn.Sequential(
            nn.Conv2d(3, STEM * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(STEM * width, track_running_stats=tracked),
        )
        self.cells = nn.ModuleList()
        reads, halved = (STEM * width, STEM * width), False
        for layer in range(depth):
            reduces = layer in self.reductions
            width *= 2 if reduces else 1
            plan = architecture.plans[reduces] if architecture is not None else None
            drop = self.drop_path * (layer + 1) / depth
            self.cells.append(
                Cell(
                    layer, reads, width, plan, self.nodes, reduces=reduces, halved=halved, drop=drop
                )
            )
            ends = len(plan.loose) if plan is not None else INPUTS + self.nodes
            reads, halved = (reads[1], ends * width), reduces
        self.drop = nn.Dropout(self.dropout)
        self.classifier = nn.Linear(reads[1], self.classes)

    def forward(
        self, x: Tensor, architecture: Architecture | None = None, fake: Fake | None = None
    ) -> Tensor:
        """Logits; the space needs to be told which path to run.

        Raises:
            BadInputError: it was not.
        """
        path = self.architecture if architecture is None or _traced(architecture) else architecture
        faked = unchanged if fake is None or _traced(fake) else fake
        if path is None:
            raise BadInputError('a model of kind = "enas" needs an architecture, or a [search]')
        first = second = State(self.stem(x), None)
        for layer, cell in enumerate(self.cells):
            plan = path.plans[layer in self.reductions]
            first, second = second, cell(first, second, plan, faked)
        features = self.drop(F.relu(second.value).mean((2, 3)))
        if second.blocks is None:
            logits: Tensor = self.classifier(features)
            return logits
        return F.linear(features, second.blocks.of(self.classifier.weight), self.classifier.bias)
