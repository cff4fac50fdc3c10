"""What recipes can name, with one line on each."""

import inspect
import tomllib

from compress import tasks
from compress.criteria import CRITERIA
from compress.quantize import SCHEMES
from compress.recipe import SHIPPED, shipped
from compress.stages import STAGES


def found() -> dict[str, dict[str, str]]:
    """Kind → name → summary; a method's summary is the first line of its file."""
    return {
        "recipe": {name: _described(name) for name in shipped()},
        "task": {name: tasks.SUMMARIES[name] for name in tasks.NAMES},
        "stage": {name: _headline(stage) for name, stage in STAGES.items()},
        "criterion": {name: _headline(score) for name, score in CRITERIA.items()},
        "quantizer": {name: scheme.summary for name, scheme in SCHEMES.items()},
    }


def _headline(function: object) -> str:
    module = inspect.getmodule(function)
    return (inspect.getdoc(module) or "").splitlines()[0] if module else ""


def _described(name: str) -> str:
    """The task a recipe is for and its steps."""
    table = tomllib.loads((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"))
    return f"{table['task']}: baseline, {', '.join(step['kind'] for step in table['steps'])}"
