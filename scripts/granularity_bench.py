"""What zeros inside kernels are worth on the device: bytes, zipped bytes, milliseconds.

    python scripts/granularity_bench.py > result.md

One network with random weights in every form: dense; weights, rows and windows of kernels zeroed
by magnitude (compress/granularity); and, as the control, whole channels removed until as few
weights are left. Zeros are zeros whatever a network learnt, so sizes and times hold for trained
ones; what each form costs in accuracy a recipe with a `sparse` step tells.

Times: all forms run in turns in one process, one thread; the least CPU time of each counts.
"""

import os
import sys
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer
from pydantic import ValidationError
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import allocation, count, prune
from compress.granularity import GRAINS, masks, scores
from compress.lowrank.latency import Timed
from compress.networks import ResNetTable
from compress.steps import Prune
from device import errors
from device.machine import machine

CLASSES = 10
SCHEMES: tuple[Literal["fp32", "static-int8"], ...] = ("fp32", "static-int8")


@dataclass(frozen=True)
class Form:
    """A network and what was done to it."""

    name: str
    net: nn.Module
    zeros: float  # share of the convolutions' weights


def forms(table: ResNetTable, sparsity: tuple[float, ...], x: Tensor) -> list[Form]:
    """Dense, zeroed in every grain, and with channels removed."""

    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return table.build(CLASSES).eval()

    found = [Form("dense", fresh(), 0.0)]
    for grain in GRAINS:
        for share in sparsity:
            net = fresh()
            layers = {n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d)}
            magnitude = scores.magnitude(list(layers.values()))
            zeros = masks.zero(layers, magnitude, GRAINS[grain], share, "uniform")
            found.append(Form(f"{grain}s", net, float(np.mean([*zeros.values()]))))
    whole = count.parameters(found[0].net)
    for share in sparsity:
        net = fresh()
        # weights go with the square of the channels
        step = Prune(kind="prune", criterion="l1", ratio=1 - (1 - share) ** 0.5, round_to=1)
        head = [net.get_submodule("classifier")]
        plan = allocation.make_plan(net, x, head, step, 0)
        prune.remove(net, x, plan)
        found.append(Form("channels removed", net, 1 - count.parameters(net) / whole))
    return found


def main(
    depth: Annotated[int, typer.Option(help="of the ResNet: 8, 14, 20, …")] = 20,
    width: Annotated[int, typer.Option(min=8)] = 16,
    size: Annotated[int, typer.Option(min=8, help="pixels")] = 32,
    rounds: Annotated[int, typer.Option(min=1)] = 200,
    sparsity: Annotated[list[float] | None, typer.Option(help="default: 0.5, 0.8, 0.9")] = None,
) -> None:
    """Print one Markdown table."""
    torch.set_num_threads(1)
    asked = {"kind": "resnet", "depth": depth, "width": width, "size": size, "train_size": size}
    try:
        table = ResNetTable.model_validate(asked)
    except ValidationError as error:
        raise errors.BadInputError(f"--{errors.first_problem(error)}") from error
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    shares = tuple(sparsity or (0.5, 0.8, 0.9))
    if not all(0 < share < 1 for share in shares):
        raise errors.BadInputError("--sparsity: shares between 0 and 1 are meant")
    made = forms(table, shares, x)
    print("| form | zeros | numbers | kB | zipped kB | ms | dense ÷ ms |")
    print("|---|---|---|---|---|---|---|")
    for scheme in SCHEMES:
        timed = [Timed(form.net, x, scheme) for form in made]
        spent = np.array([[one.seconds() for one in timed] for _ in range(rounds)]).min(0) * 1e3
        for form, one, ms in zip(made, timed, spent, strict=True):
            print(
                f"| {form.name} | {form.zeros:.0%} | {scheme} | {len(one.content) / 1e3:.0f} | "
                f"{len(zlib.compress(one.content, 9)) / 1e3:.0f} | {ms:.3f} | "
                f"{spent[0] / ms:.2f} |"
            )
    print(
        f"\nResNet-{depth} of width {width}, {size} × {size}, random weights; least CPU time of "
        f"{rounds} turns, one thread. {machine()}; {timed[0].runtime.description}; load "
        f"{os.getloadavg()[0]:.1f}; {datetime.now(UTC):%Y-%m-%d}."
    )


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False)
    cli.command()(main)
    errors.run(cli)
