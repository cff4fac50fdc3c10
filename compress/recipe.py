"""A recipe: one TOML file that says how a model is trained, compressed and checked.

Tables every task has are typed here; the tables a task brings itself ([data], [model], …) are
typed by that task's `Settings` (compress/tasks). Unknown keys are refused with their path.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from compress import criteria, tasks
from device.errors import BadInputError
from device.manifest import Frozen

SHIPPED = Path(__file__).parent / "recipes"
Validated = TypeVar("Validated", bound=Frozen)


class Schedule(Frozen):
    """How a network is trained: cosine from `lr` to zero after a linear warm-up."""

    epochs: int = Field(gt=0)
    lr: float = Field(gt=0, description="peak learning rate")
    head_lr: float = Field(1.0, gt=0, description="factor on lr for the layers of the answer")
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd only, Nesterov")
    weight_decay: float = Field(0.0, ge=0, description="on matrices and kernels, not on vectors")
    warmup: float = Field(0.5, ge=0, description="epochs")
    clip: float | None = Field(None, gt=0, description="largest gradient norm")
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    channels_last: bool = True


def _known_criterion(name: str) -> str:
    if name not in criteria.CRITERIA:
        raise ValueError(f"no criterion {name!r}; there are {', '.join(criteria.CRITERIA)}")
    return name


class Budget(Frozen):
    """How much is pruned, and where."""

    ratio: float | None = Field(None, gt=0, lt=1, description="share of channels removed")
    macs: float | None = Field(None, gt=0, lt=1, description="share of multiply-accumulates kept")
    max_ratio: float = Field(0.9, gt=0, lt=1, description="largest share one group may lose")
    round_to: int = Field(8, gt=0, description="channel counts are kept at multiples of this")
    keep: tuple[str, ...] = Field(
        (), description="patterns of layer names, as of files: groups with such a layer stay whole"
    )

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.ratio is None) == (self.macs is None):
            raise ValueError("give either ratio or macs")
        return self


class Prune(Budget):
    """Remove the channels a criterion scores lowest."""

    kind: Literal["prune"]
    criterion: str
    scope: Literal["uniform", "global"] = Field(
        "uniform", description="the same share of every group, or one ranking over all groups"
    )

    _known = field_validator("criterion")(_known_criterion)


class Tuning(Schedule):
    """Further training, on request with the baseline as the teacher."""

    distil: bool = False


class Finetune(Tuning):
    """Train the network further."""

    kind: Literal["finetune"]


class Cicr(Frozen):
    """Prune as far as the score allows: one contribution rate for all layers, by bisection."""

    kind: Literal["cicr"]
    criterion: str = Field(
        "permutation-expected", description="whose scores are contributions, never negative"
    )
    acc_loss: float = Field(1.0, gt=0, description="of the primary validation score, in its units")
    interval: float = Field(0.01, gt=0, lt=1, description="resolution of the rate: 7 probes")
    recheck: bool = Field(
        False, description="doubt the last two decisions if they are close to the threshold"
    )
    round_to: int = Field(8, gt=0, description="channel counts are rounded up to multiples of this")
    keep: tuple[str, ...] = Field((), description="as of prune")
    finetune: Tuning = Field(description="short training of every probe")

    _known = field_validator("criterion")(_known_criterion)


class InfCp(Tuning, Budget):
    """Train the network together with gates that learn which channels go, then remove those."""

    kind: Literal["infcp"]
    factor: float = Field(5.0, gt=0, description="of λ, the pressure towards the budget")
    gate_lr: float = Field(0.03, gt=0, description="Adam, constant")
    window: int = Field(50, gt=0, description="steps over which a gate's mean counts")
    beta: Literal["geometric", "automatic"] = Field(
        "geometric", description="growth of the gates' steepness; automatic needs no beta_end"
    )
    beta_start: float = Field(0.05, gt=0)
    beta_end: float = Field(4.0, gt=0)


class Quantize(Frozen):
    """Numbers of the deployed model."""

    kind: Literal["quantize"]
    scheme: Literal["fp32", "dynamic-int8", "static-int8"]
    samples: int = Field(200, gt=0, description="calibration inputs, static-int8 only")


Step = Annotated[Prune | InfCp | Cicr | Finetune | Quantize, Field(discriminator="kind")]


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


class Recipe(Frozen):
    """The whole file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    version: str = Field("1.0.0", pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")
    task: str
    seed: int = Field(0, ge=0)
    baseline: Schedule
    steps: tuple[Step, ...] = Field(min_length=1)
    gate: Gate
    measure: Measure = Measure()
    settings: SerializeAsAny[Frozen] = Field(description="the task's own tables")
    text: str = Field(description="the file, verbatim", repr=False)

    @field_validator("steps")
    @classmethod
    def _quantize_last(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if any(isinstance(step, Quantize) for step in steps[:-1]):
            raise ValueError("quantize must be the last step")
        return steps


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
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInputError(f"{path}: not TOML: {error}") from error
    if "task" not in table:
        raise BadInputError(f"{path}: task: missing; there are {', '.join(tasks.NAMES)}")
    plugin = tasks.plugin(str(table["task"]), path)
    own = {key: table[key] for key in table if key in Recipe.model_fields and key != "settings"}
    theirs = {key: table[key] for key in table if key not in own}
    settings = _validated(plugin.Settings, theirs, path)
    return _validated(Recipe, {**own, "settings": settings, "text": text}, path)


def _validated(kind: type[Validated], table: dict[str, Any], path: Path) -> Validated:
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise BadInputError(f"{path}: {where}: {reason}") from error
