"""What NetAdapt searches in the tests: a small classifier of coloured shapes."""

from pathlib import Path

import torch

from compress.stages import Context
from compress.steps import NetAdapt
from tests.compress import shapes


def context_in(root: Path, folder: Path) -> tuple[Context, torch.nn.Module]:
    """A search from the fresh network of ROOT/shapes.toml, whose checkpoint is in `folder`."""
    task = shapes.make_task(root, root / "shapes.toml")
    torch.manual_seed(0)
    net = task.build().eval()
    return Context(task, 0, task.example(), None, folder / "checkpoint.pt"), net


def made_step(**changes: object) -> NetAdapt:
    """To 70 % of the MACs, but for what changes."""
    table = {"kind": "netadapt", "macs": 0.7, "gain": 0.15, "round_to": 2, **changes}
    return NetAdapt.model_validate(table)
