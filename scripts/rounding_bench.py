"""What rounding channel counts to a multiple costs and gains: latency at the same share of work.

    python scripts/rounding_bench.py RECIPE... --data DIR [--macs 0.5]

Every recipe's network, untrained (latency does not depend on the weights), is pruned uniformly to
the same share of multiply-accumulates with channel counts kept at multiples of 1, 2, 4, 8 and 16,
exported as float32 and int8 and timed in turns with the unpruned float32 file.
"""

import copy
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import allocation, count, defaults, prune, recipe, tasks
from compress.steps import Prune
from compress.task import Task
from device import errors
from device.machine import machine
from scripts.compare_speed import HEAD, ROUNDS, exported, line

MULTIPLES = (1, 2, 4, 8, 16)


def main(
    recipes: list[str],
    data: Annotated[Path, typer.Option(help="data folder of the recipes")],
    macs: Annotated[float, typer.Option(help="share of multiply-accumulates kept")] = 0.5,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Prune, export, time, print a Markdown table a recipe."""
    for name in recipes:
        loaded = recipe.load(name)
        torch.manual_seed(0)
        task = tasks.plugin(loaded.task, recipe.find(name)).make(
            loaded.settings, defaults.folders(data), 0
        )
        net, example = task.build().eval(), task.example()
        with tempfile.TemporaryDirectory() as folder:
            plain, whole = exported(task, net, Path(folder), "baseline", threads)
            print(f"\n{loaded.name}: {machine()}; {plain.runtime.description}; ", end="")
            print(f"{threads} thread(s), {ROUNDS} rounds\n\n{HEAD}")
            print(line("unpruned", count.macs(net, example), plain, (plain, whole)))
            for multiple in MULTIPLES:
                pruned = _pruned(task, net, macs, multiple)
                files = exported(task, pruned, Path(folder), "pruned", threads)
                print(line(f"multiples of {multiple}", count.macs(pruned, example), plain, files))


def _pruned(task: Task, net: nn.Module, macs: float, multiple: int) -> nn.Module:
    example, net = task.example(), copy.deepcopy(net)
    step = Prune(kind="prune", criterion="l1", macs=macs, round_to=multiple)

    plan = allocation.make_plan(net, example, task.head(net), step, 0)
    return prune.remove(net, example, plan)


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False)
    cli.command()(main)
    errors.run(cli)
