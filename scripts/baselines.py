"""Trained baselines of studies, kept with the repository: a study goes on on another machine.

    benchmarks/baselines/RECIPE-seedN.safetensors    weights
    benchmarks/baselines/RECIPE-seedN.json           record of the stage, training data, licence

Training a study's baselines takes longer than any of its cells, and cells of two machines compare
only if they start from the same weights. A kept baseline is used where its key is the one that the
recipe, the data and the seed give today; otherwise it is as if it were not there.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from compress import advance, defaults, recipe, store, tasks
from compress.recipe import Recipe
from compress.task import Task
from device import files
from device.manifest import Data, Frozen

FOLDER = Path(__file__).parents[1] / "benchmarks" / "baselines"


class Kept(Frozen):
    """The .json: what the weights are, and what they learned from."""

    data: Data
    record: store.Record


@dataclass(frozen=True)
class Start:
    """What all that is compared with one seed of a recipe starts from."""

    recipe: Recipe
    task: Task
    example: Tensor
    fresh: nn.Module  # as it was built
    net: nn.Module  # trained
    place: store.Place
    record: store.Record
    name: str  # of its files here, should it be kept


def start(named: str, data: Path, out: Path, seed: int) -> Start:
    """A recipe's baseline for a seed: kept here, found in `out`, or trained there now.

    What `data` does not hold is looked for in the default data, as in `python -m compress run`.

    Raises:
        BadInputError: no such recipe, or not its data.
    """
    found = recipe.load(named)
    plugin = tasks.plugin(found.task, recipe.find(named))
    task: Task = plugin.make(found.settings, defaults.folders(data), seed)
    example = task.example()
    torch.manual_seed(seed)
    net = task.build()
    fresh = copy.deepcopy(net)
    key = advance.key(found.baseline, advance.root(task, found.task, found.settings, seed))
    place = store.Place(out / f"baseline-seed{seed}", key)
    name = f"{found.name}-seed{seed}"
    if restore(place, name):
        print(f"baseline: taken from {FOLDER}")
    record = advance.advance(
        place, task, net, found.baseline, seed=seed, example=example, teacher=None, say=print
    )
    return Start(found, task, example, fresh, net, place, record, name)


def keep(place: store.Place, name: str, data: Data, folder: Path = FOLDER) -> Path:
    """Copy a finished baseline; returns the file of its weights."""
    record = place.finished()
    assert record is not None
    weights = folder / f"{name}.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(weights) as temporary:
        save_file({k: v.contiguous() for k, v in place.state().items()}, temporary)
    kept = Kept(data=data, record=record).model_dump_json(indent=1)
    files.write_bytes(weights.with_suffix(".json"), kept.encode())
    return weights


def restore(place: store.Place, name: str, folder: Path = FOLDER) -> bool:
    """Finish a place with the kept baseline of its key, if there is one."""
    if place.finished() is not None:
        return False
    weights = folder / f"{name}.safetensors"
    try:
        kept = Kept.model_validate_json(weights.with_suffix(".json").read_bytes())
        state = load_file(weights) if kept.record.key == place.key else None
    except (OSError, ValidationError, safetensors.SafetensorError):
        return False
    if state is None:
        return False
    place.begin()
    place.finish(kept.record, state)
    return True
