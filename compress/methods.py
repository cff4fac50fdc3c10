"""What recipes can name, with one line on each."""

import inspect
import tomllib
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from compress import tasks
from compress.compact import BLOCKS
from compress.costs import COSTS
from compress.criteria import CRITERIA
from compress.distillation import DISTILLATIONS
from compress.granularity import GRAINS
from compress.lowrank import FORMS
from compress.policies import POLICIES
from compress.quantization import SCHEMES
from compress.recipe import SHIPPED, shipped
from compress.stages import STAGES


def found() -> dict[str, dict[str, str]]:
    """Kind → name → summary; a method's summary is the first line of its file."""
    return {
        "recipe": {name: _described(name) for name in shipped()},
        "task": {name: tasks.SUMMARIES[name] for name in tasks.NAMES},
        "network": {name: summary for task in tasks.NAMES for name, summary in _networks(task)},
        "stage": {name: _headline(stage) for name, stage in STAGES.items()},
        "criterion": {name: _headline(score) for name, score in CRITERIA.items()},
        "scope": {name: _headline(policy) for name, policy in POLICIES.items()},
        "budget": {name: _headline(cost) for name, cost in COSTS.items()},
        "factorisation": {name: _headline(form) for name, form in FORMS.items()},
        "block": {name: _headline(block) for name, block in BLOCKS.items()},
        "grain": {name: inspect.getdoc(grain) or "" for name, grain in GRAINS.items()},
        "quantizer": {name: scheme.summary for name, scheme in SCHEMES.items()},
        "distillation": {name: _headline(module) for name, module in DISTILLATIONS.items()},
    }


def _networks(task: str) -> Iterator[tuple[str, str]]:
    """Every kind that a task's [model] table may name, with its table's docstring."""
    settings = tasks.plugin(task, SHIPPED).Settings
    for table in _tables(settings.model_fields["model"].annotation):
        summary = (inspect.getdoc(table) or "").splitlines()[0]
        kind = table.model_fields.get("kind")
        for name in get_args(kind.annotation) if kind else (task,):
            yield name, summary


def _tables(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
        return
    parts = get_args(annotation)
    for part in parts[:1] if get_origin(annotation) is Annotated else parts:
        yield from _tables(part)


def _headline(method: object) -> str:
    module = inspect.getmodule(method)
    return (inspect.getdoc(module) or "").splitlines()[0] if module else ""


def _described(name: str) -> str:
    """The task a recipe is for and its steps."""
    table = tomllib.loads((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"))
    searched = [table["search"]["kind"]] if "search" in table else []
    kinds = [*searched, "baseline", *(step["kind"] for step in table["steps"])]
    return f"{table['task']}: {', '.join(kinds)}"
