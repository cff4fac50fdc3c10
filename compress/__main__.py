"""python -m compress: run a recipe, or list the methods there are."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from device.errors import BadInputError, run

cli = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@cli.command("run")
def run_recipe(
    recipe: Annotated[str, typer.Argument(help="path of a recipe, or the name of a shipped one")],
    data: Annotated[
        Path | None, typer.Option(help="data folder; default: $FIELDWREN_DATA, or the default data")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="results; default: runs/RECIPE-seedN")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="default: the recipe's")] = None,
) -> None:
    """Train, compress, check and measure; finished stages of an earlier run are reused."""
    from rich.console import Console

    from compress import pipeline, tasks
    from compress.recipe import find, load

    loaded = load(recipe)
    chosen = loaded.seed if seed is None else seed
    task = tasks.plugin(loaded.task, find(recipe)).make(loaded.settings, _folders(data), chosen)
    target = out or Path("runs") / f"{loaded.name}-seed{chosen}"
    pipeline.run(loaded, task, target, chosen, Console(soft_wrap=True))


@cli.command("methods")
def list_methods(
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
) -> None:
    """List what recipes can name."""
    from compress import methods

    if as_json:
        print(json.dumps(methods.found(), indent=1, ensure_ascii=False))
        return
    for kind, names in methods.found().items():
        for name, summary in names.items():
            print(f"{kind:<10} {name:<21} {summary}")


def _folders(data: Path | None) -> tuple[Path, ...]:
    """Where paths of a recipe are looked up: the user's folder first, then the default data."""
    from compress.defaults import default_data, default_root

    named = data or (Path(os.environ["FIELDWREN_DATA"]) if "FIELDWREN_DATA" in os.environ else None)
    if named is None:
        return (default_data(),)
    if not named.is_dir():
        raise BadInputError(f"{named}: no such data folder")
    return (named, default_root())


if __name__ == "__main__":
    run(cli)
