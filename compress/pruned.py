"""A pruned network as one safetensors file: its weights, and the plan that makes their shapes.

The plan stands in the file's metadata as JSON (`plan`), so any reader of safetensors gets at both.
"""

from collections import OrderedDict
from pathlib import Path

import safetensors
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from compress.passes import Example
from compress.prune import Plan, remove
from device import files
from device.errors import BadInputError, FieldwrenError, first_problem

PLAN = "plan"  # metadata


def save(net: nn.Module, plan: Plan, path: Path | str) -> None:
    """Write a network from which `plan` was removed; training it further changes nothing here.

    Raises:
        BadInputError: a layer's state is more than tensors.
    """
    whole = net.state_dict()
    if foreign := [name for name, value in whole.items() if not isinstance(value, Tensor)]:
        raise BadInputError(
            f"{path}: {', '.join(foreign)} is no tensor (get_extra_state), and a safetensors file "
            "holds nothing else: make it a buffer"
        )
    state = {name: value.contiguous().clone() for name, value in whole.items()}
    with files.replacing(Path(path)) as temporary:
        save_file(state, temporary, {PLAN: plan.model_dump_json()})


def load(net: nn.Module, example: Example, path: Path | str) -> nn.Module:
    """Make the whole network `net` the one that was saved, in place; returns it.

    Raises:
        BadInputError: the file is none of these, or is of another network than `net`, which is
            then of no use.
    """
    try:
        with safetensors.safe_open(path, "pt") as stored:
            told = (stored.metadata() or {}).get(PLAN, "")
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        plan = Plan.model_validate_json(told)
    except ValidationError as error:
        raise BadInputError(f"{path}: no channel plan: {first_problem(error)}") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise BadInputError(f"{path}: not there, damaged or no pruned network") from error
    try:
        remove(net, example, plan)
        versioned: OrderedDict[str, Tensor] = OrderedDict(state)
        # layers ask for the version of their state: ours is the one that they write themselves
        versioned.__dict__["_metadata"] = getattr(net.state_dict(), "_metadata", {})
        net.load_state_dict(versioned)
    except FieldwrenError as error:
        raise BadInputError(f"{path}: {error}") from error
    except RuntimeError as error:  # whose last line names the first misfit
        problem = str(error).splitlines()[-1].strip()
        raise BadInputError(f"{path}: its weights do not fit the network: {problem}") from error
    return net
