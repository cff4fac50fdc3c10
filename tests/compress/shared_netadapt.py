"""python -m tests.compress.shared_netadapt ROOT OUT: one NetAdapt search by two processes.

Every process writes the network it ended with.
"""

from pathlib import Path

import torch
import typer

from compress import distributed
from compress.stages import Context, netadapt
from compress.steps import NetAdapt
from device.errors import run
from tests.compress import shapes

cli = typer.Typer()


@cli.command()
def main(root: Path, out: Path) -> None:
    torch.set_num_threads(1)
    task = shapes.make_task(root, root / "shapes.toml")
    table = {"macs": 0.9, "gain": 0.1, "round_to": 2, "finetune": {"epochs": 1, "lr": 0.02}}
    step = NetAdapt.model_validate({"kind": "netadapt", **table})
    with distributed.together(2):
        torch.manual_seed(0)
        net = task.build().eval()
        netadapt.run(Context(task, 0, task.example(), None, out / "checkpoint.pt"), net, step)
        torch.save(net.state_dict(), out / f"{distributed.rank()}.pt")


if __name__ == "__main__":
    run(cli)
