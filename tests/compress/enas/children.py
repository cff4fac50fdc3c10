"""Random architectures, the published one, and a tiny search on coloured shapes."""

import random
from pathlib import Path

from models.enas import OPERATIONS, Architecture, Edge, Node, Plan

PUBLISHED = (  # H. Pham et al. 2018: index, operation of every edge
    "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1",
    "1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1",
)
RECIPE = """
name = "tiny"
task = "birds"
[data]
train = ["shapes/train"]
test = "shapes/test"
validation = 0.4
batch = 6
description = "coloured discs"
licence = "none"
[model]
kind = "enas"
filters = 4
layers = 1
nodes = 2
size = 16
train_size = 16
{model}
[search]
kind = "enas"
epochs = 2
controller_steps = 2
samples = 3
batch = 6
finalists = 2
lr = 0.1
{search}
[baseline]
epochs = 1
lr = 0.05
warmup = 0.2
[[steps]]
kind = "extract"
examples = 12
batches = 2
[[steps]]
kind = "finetune"
epochs = 1
lr = 0.02
distil = true
[[steps]]
kind = "quantize"
scheme = "fp32"
[gate]
max_drop = 100.0
[measure]
runs = 3
warmup = 1
"""


def published() -> Architecture:
    """The cells of the ENAS paper."""
    normal, reduction = (_plan(list(map(int, text.split()))) for text in PUBLISHED)
    return Architecture(normal=normal, reduction=reduction)


def drawn(seed: int, nodes: int, ratios: tuple[float, ...]) -> Architecture:
    """Any cells, every ratio one of these."""
    chance = random.Random(seed)

    def edge(node: int) -> Edge:
        return Edge(
            input=chance.randrange(node + 2),
            operation=chance.choice(OPERATIONS),
            ratio=chance.choice(ratios),
        )

    def plan() -> Plan:
        return Plan(
            nodes=tuple(Node(left=edge(node), right=edge(node)) for node in range(nodes)),
            ratios=(chance.choice(ratios), chance.choice(ratios)),
        )

    return Architecture(normal=plan(), reduction=plan())


def write_recipe(path: Path, *, model: str = "", search: str = "") -> Path:
    """A search on `shapes.make_folder(DATA / "shapes")`."""
    path.write_text(RECIPE.format(model=model, search=search))
    return path


def _plan(numbers: list[int]) -> Plan:
    edges = [
        Edge(input=numbers[i], operation=OPERATIONS[numbers[i + 1]])
        for i in range(0, len(numbers), 2)
    ]
    nodes = tuple(Node(left=edges[i], right=edges[i + 1]) for i in range(0, len(edges), 2))
    return Plan(nodes=nodes)
