"""A recipe: one TOML file that says how a model is trained, compressed and checked.

Tables every task has are typed here, those of its steps in compress/steps; the tables a task
brings itself ([data], [model], …) are typed by that task's `Settings` (compress/tasks). Unknown
keys are refused with their path.
"""

from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from compress import tasks
from compress.steps import (
    Codebook,
    Compact,
    LowRank,
    NetAdapt,
    Prune,
    Qat,
    Quantize,
    Schedule,
    Search,
    Sparse,
    Step,
)
from device import tables
from device.errors import BadInputError, first_problem
from device.manifest import Frozen

SHIPPED = Path(__file__).parent / "recipes"
CHANNELS = {"extract", "prune", "infcp", "cicr", "netadapt", "fake-prune"}  # remove whole channels
Validated = TypeVar("Validated", bound=Frozen)


class Gate(Frozen):
    """What the result may cost."""

    max_drop: float = Field(description="of the primary score, in its units, against the baseline")
    min_score: float | None = Field(
        None, description="the primary score must reach it: losing little of nothing is not enough"
    )


class Measure(Frozen):
    """How latency is measured."""

    runs: int = Field(300, gt=0)
    warmup: int = Field(20, ge=0)
    threads: int = Field(1, gt=0)


def nothing_undone(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps, as they are.

    Raises:
        ValueError: one would undo what another before it did.
    """
    if any(isinstance(step, Quantize) for step in steps[:-1]):
        raise ValueError("quantize must be the last step")
    for index, step in enumerate(steps):
        behind = steps[index + 1 :]
        kinds = [other.kind for other in behind]
        if isinstance(step, Qat | Codebook) and set(kinds) - {"quantize"}:
            raise ValueError(
                f"only quantize may follow {step.kind}: {kinds[0]} would undo what it did"
            )
        schemes = [other.scheme for other in behind if isinstance(other, Quantize)]
        if isinstance(step, Qat) and schemes != [step.scheme]:
            raise ValueError(
                f'qat trains for scheme = "{step.scheme}": quantize with it must follow'
            )
        if step.kind == "extract" and (again := set(kinds) & CHANNELS):
            raise ValueError(
                f"{min(again)} cannot follow extract: what is narrowed has no whole channels"
            )
        changed = step.kind in CHANNELS - {"extract"} or isinstance(step, LowRank | Compact)
        if changed and "extract" in kinds:
            raise ValueError(f"extract cannot follow {step.kind}: it needs the child as found")
        filling = [what for other in behind if (what := _filling(other)) is not None]
        if isinstance(step, Sparse) and filling:
            raise ValueError(f"{filling[0]} cannot follow sparse: its zeros would go")
    return steps


class Recipe(Frozen):
    """The whole file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    version: str = Field("1.0.0", pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")
    task: str
    seed: int = Field(0, ge=0)
    search: Search | None = Field(None, description="before the baseline: what that is to be")
    baseline: Schedule
    steps: tuple[Step, ...] = Field(min_length=1)
    gate: Gate
    measure: Measure = Measure()
    settings: SerializeAsAny[Frozen] = Field(description="the task's own tables")
    text: str = Field(description="the file, verbatim", repr=False)

    _nothing_undone = field_validator("steps")(nothing_undone)

    @model_validator(mode="after")
    def _what_is_searched_for_is_used(self) -> Self:
        decided = self.search is not None and self.search.decide != "cells"
        if decided and all(step.kind != "extract" for step in self.steps):
            raise ValueError(
                'search decides ratios that nothing takes up: give a step of kind = "extract", or '
                'decide = "cells"'
            )
        return self

    @field_validator("name")
    @classmethod
    def _a_folder_of_its_own(cls, name: str) -> str:
        if name == "stages":  # the bundle would take the place of what was trained
            raise ValueError("stages is the folder of a run's stages: choose another name")
        return name


def _filling(step: Step) -> str | None:
    """What a step does that puts other weights in the place of zeros; None: nothing."""
    if isinstance(step, Prune | NetAdapt):
        return f"{step.kind} with repair" if step.repair else None
    if isinstance(step, Codebook):
        return "codebook with vectors" if step.vector > 1 else None
    return step.kind if isinstance(step, LowRank | Compact) else None


def shipped() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def find(name: str) -> Path:
    """A recipe's file from its path or, for a shipped one, its bare name.

    Raises:
        BadInputError: there is neither.
    """
    for path in (Path(name), SHIPPED / f"{name}.toml"):
        if path.is_file():
            return path
    raise BadInputError(f"{name}: no such recipe file, and shipped are only {', '.join(shipped())}")


def load(name: str) -> Recipe:
    """Read and check a recipe.

    Raises:
        BadInputError: no such recipe, not TOML, an unknown task, or a key that is unknown,
            missing or out of range; the message holds the key's path.
    """
    path = find(name)
    table, text = tables.read(path)
    if "task" not in table:
        raise BadInputError(f"{path}: task: missing; there are {', '.join(tasks.NAMES)}")
    plugin = tasks.plugin(str(table["task"]), path)
    own = {key: table[key] for key in table if key in Recipe.model_fields and key != "settings"}
    theirs = {key: table[key] for key in table if key not in own}
    settings = _validated(plugin.Settings, theirs, path)
    loaded = _validated(Recipe, {**own, "settings": {}, "text": text}, path)
    return loaded.model_copy(update={"settings": settings})


def _validated(kind: type[Validated], table: dict[str, Any], path: Path) -> Validated:
    try:
        return kind.model_validate_json(tables.as_written(table), strict=True)
    except ValidationError as error:
        raise BadInputError(f"{path}: {first_problem(error)}") from error
