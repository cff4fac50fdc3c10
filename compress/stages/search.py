"""Find cells and pruning ratios with shared weights and a controller (ENAS with fake pruning).

The network comes as the whole space and leaves as the child that was found, unpruned and freshly
initialised: the baseline. Its ratios wait for the `extract` step. The record's structure is the
architecture as JSON, also written to STAGE/architecture.json for other recipes to load.
"""

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from compress import distributed
from compress.enas import latency
from compress.enas.controller import Controller, Uniform
from compress.enas.cost import Cost, Geometry, Relative, Sum, macs
from compress.enas.grades import searchable
from compress.enas.micro import Micro
from compress.enas.search import figures, search
from compress.stages.base import Context, Outcome
from compress.steps.search import Search
from compress.store import Record
from device import files
from device.errors import BadInputError
from models.enas import Architecture, Enas

ARCHITECTURE = "architecture.json"


def run(context: Context, net: nn.Module, step: Search) -> Outcome:
    """Search, and turn the space into the best child.

    Raises:
        BadInputError: the model is no space, or the task cannot be searched on.
        FieldwrenError: the loss of the shared weights is not finite.
    """
    if not isinstance(net, Enas):
        raise BadInputError('[search] needs a model of kind = "enas"')
    given = net.architecture
    if (given is not None) != (step.decide == "ratios"):
        raise BadInputError(
            '[search] decides "ratios" of a model with an architecture, or "cells" or "both" of '
            "one without"
        )
    net.settle(None)
    kind = Controller if step.sampler == "controller" else Uniform
    sampler = kind(net.nodes, step.decide, given)
    space = Micro(
        searchable(context.task),
        net,
        step,
        _cost(context, net, step),
        context.workers,
        context.seed,
    )
    found = search(
        space,
        sampler,
        step,
        epochs=step.epochs,
        seed=context.seed,
        checkpoint=context.checkpoint,
    )
    torch.manual_seed(context.seed)  # the child's first weights are not the search's business
    net.settle(found.best)
    text = found.best.model_dump_json(indent=1)
    if distributed.first():
        files.write_bytes(context.checkpoint.parent / ARCHITECTURE, text.encode())
    score = found.evaluation
    print(
        f"search: best of {found.evaluations} evaluations: reward "
        f"{score.reward(step.alpha, step.beta):.4f}, accuracy {score.accuracy:.4f}, "
        f"gap {score.gap:.4f}, ratio {score.ratio:.2f}"
    )
    structure: JsonValue = {
        "architecture": found.best.model_dump(mode="json"),
        "evaluations": found.evaluations,
        "accuracy": score.accuracy,
        "pruned": score.pruned,
        "ratio": score.ratio,
    }
    curves = figures(found.rows, step.samples, "search")
    return Outcome(structure=structure, figures=curves, before=found.before)


def rebuild(net: nn.Module, example: Tensor, record: Record) -> None:
    """Turn the space into the child that was found."""
    assert isinstance(net, Enas) and isinstance(record.structure, dict)
    net.settle(Architecture.model_validate(record.structure["architecture"]))


def _cost(context: Context, net: Enas, step: Search) -> Cost:
    if step.ratio == "sum":
        return Sum()
    geometry = Geometry.of(net, context.example.shape[-1])
    if step.ratio == "macs":
        return Relative.of(geometry, macs)
    from compress.defaults import default_root

    return Relative.of(geometry, latency.table(geometry, default_root() / "latency", print).price)
