"""Tasks by the name a recipe gives. A task is one module with two names in it:

`Settings`: a frozen pydantic model of the tables the task adds to a recipe ([data], [model], …);
`make(settings, folders, seed) -> Task`: the task on data found in the given folders, the first
folder that holds a path wins.

A module is imported only when a recipe asks for it.
"""

import importlib
from pathlib import Path
from typing import Protocol, cast

from compress.task import Task
from device.errors import BadInputError
from device.manifest import Frozen

SUMMARIES = {
    "birds": "classify photos in folders",
    "enhancer": "enhance speech frame by frame with a streaming mask network",
    "dtln": "enhance speech with the published DTLN (exported, but no bundle: no device runs it)",
    "language": "predict the next word of a text (exported, but no bundle: no device runs it)",
}
NAMES = tuple(SUMMARIES)


class Plugin(Protocol):
    """What a task's module offers."""

    Settings: type[Frozen]

    def make(self, settings: Frozen, folders: tuple[Path, ...], seed: int) -> Task:
        """The task on real data; BadInputError if the data is not there or not usable."""
        ...


def plugin(name: str, source: Path) -> Plugin:
    """The module of a task; `source` is the recipe, for the error message."""
    if name not in NAMES:
        raise BadInputError(f"{source}: task: no task {name!r}; there are {', '.join(NAMES)}")
    return cast(Plugin, importlib.import_module(f"compress.tasks.{name}"))


def locate(relative: str, folders: tuple[Path, ...], form: str) -> Path:
    """The first folder that holds `relative`; `form` tells the user what should be there.

    Raises:
        BadInputError: none has it.
    """
    for folder in folders:
        if (folder / relative).exists():
            return folder / relative
    tried = " or ".join(str(folder) for folder in folders)
    raise BadInputError(f"no {relative} in {tried}: expected {form}")
