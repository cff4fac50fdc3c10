"""A pruned network as one file: its plan, which makes the shapes, and its weights, which fill them.

    {"plan": JSON of compress.prune.Plan, "state": state_dict}        by torch.save

Nothing in it is code: it is read with weights_only, into a network as it was before pruning.
"""

import pickle
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import nn

from compress.passes import Example
from compress.prune import Plan, remove
from device import files
from device.errors import BadInputError, FieldwrenError, first_problem

UNREADABLE = (OSError, EOFError, pickle.UnpicklingError, RuntimeError)
OTHER = (TypeError, KeyError, IndexError)  # what torch.save wrote, but something else


def save(net: nn.Module, plan: Plan, path: Path | str) -> None:
    """Write a network from which `plan` was removed; training it further changes nothing here."""
    with files.replacing(Path(path)) as temporary:
        torch.save({"plan": plan.model_dump_json(), "state": net.state_dict()}, temporary)


def load(net: nn.Module, example: Example, path: Path | str) -> nn.Module:
    """Make the whole network `net` the one that was saved, in place; returns it.

    Raises:
        BadInputError: the file is none of these, or is of another network than `net`, which is
            then of no use.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        plan, state = Plan.model_validate_json(stored["plan"]), stored["state"]
    except ValidationError as error:
        raise BadInputError(f"{path}: no channel plan: {first_problem(error)}") from error
    except (*UNREADABLE, *OTHER) as error:
        raise BadInputError(f"{path}: not there, damaged or no pruned network") from error
    try:
        remove(net, example, plan)
        net.load_state_dict(state)
    except FieldwrenError as error:
        raise BadInputError(f"{path}: {error}") from error
    except (RuntimeError, TypeError) as error:
        problem = str(error).strip().splitlines()[-1].strip()
        raise BadInputError(f"{path}: its weights do not fit the network: {problem}") from error
    return net
