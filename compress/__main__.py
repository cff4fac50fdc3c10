"""python -m compress: run a recipe, or list the methods there are."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from device.errors import BadInputError, FieldwrenError, run

cli = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@cli.command("run")
def run_recipe(
    recipe: Annotated[str, typer.Argument(help="path of a recipe, or the name of a shipped one")],
    data: Annotated[
        Path | None, typer.Option(help="data folder; default: $FIELDWREN_DATA, or the default data")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="results; default: runs/RECIPE-seedN")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="default: the recipe's")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="several, such as 0,1,2: report mean ± deviation")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="evaluate on a Ray cluster: HOST:PORT, auto, or local to start one"),
    ] = None,
    devices: Annotated[
        int, typer.Option(min=1, help="processes on this machine that share each training batch")
    ] = 1,
) -> None:
    """Train, compress, check and measure; finished stages of an earlier run are reused."""
    from rich.console import Console

    from compress import distributed, pipeline, workers
    from compress.recipe import find, load
    from compress.seeds import Plan
    from compress.seeds import run as run_seeds

    if ray is not None and (devices > 1 or distributed.TORCHRUN in os.environ):
        other = "--devices" if devices > 1 else "torchrun"
        raise BadInputError(f"--ray: a task is one process: give it without {other}")
    several = _several(seeds)
    if several and seed is not None:
        raise BadInputError("--seed: give it or --seeds")
    loaded = load(recipe)
    plan = Plan(loaded, find(recipe).resolve(), tuple(map(Path.resolve, _folders(data))))
    base, console = out or Path("runs"), Console(soft_wrap=True)
    if several:
        name = "" if out else f"{loaded.name}-"
        places = {each: base / f"{name}seed{each}" for each in several}
        with distributed.together(devices), workers.start(ray, base) as pool:
            reports = run_seeds(plan, places, base / f"{name}seeds.json", pool, console)
        missed = [f"seed {one.seed}: {one.missed}" for one in reports if one.missed]
    else:
        chosen, missed = loaded.seed if seed is None else seed, []
        task, place = plan.task(chosen), base if out else base / f"{loaded.name}-seed{chosen}"
        with distributed.together(devices), workers.start(ray, base) as pool:
            if distributed.first():
                report = pipeline.run(loaded, task, place, chosen, console, pool)
                missed = [report.missed] if report.missed else []
            else:
                pipeline.train(loaded, task, place, chosen, console, pool)
    if missed:
        raise FieldwrenError(f"gate missed: {'; '.join(missed)}")


@cli.command("methods")
def list_methods(
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
) -> None:
    """List what recipes can name."""
    from compress import methods

    if as_json:
        print(json.dumps(methods.found(), indent=1, ensure_ascii=False))
        return
    found = methods.found()
    first, second = (
        max(map(len, found)),
        max(len(name) for names in found.values() for name in names),
    )
    for kind, names in found.items():
        for name, summary in names.items():
            print(f"{kind:<{first}}  {name:<{second}}  {summary}")


def _several(seeds: str | None) -> tuple[int, ...]:
    if seeds is None:
        return ()
    parts = seeds.split(",")
    if not all(part.strip().isdecimal() for part in parts) or len(set(map(int, parts))) < 2:
        raise BadInputError(f"--seeds {seeds}: give two or more different ones, such as 0,1,2")
    return tuple(dict.fromkeys(map(int, parts)))


def _folders(data: Path | None) -> tuple[Path, ...]:
    from compress import defaults

    named = os.environ.get("FIELDWREN_DATA")
    return defaults.folders(data or (Path(named) if named is not None else None))


if __name__ == "__main__":
    run(cli)
