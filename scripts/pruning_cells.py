"""What a study of pruning methods (scripts/compare_pruning.py) asks for, and its single cells."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from compress import advance, recipe, store
from compress.stages import STAGES
from compress.stages.base import cut, same
from compress.steps import Change, Schedule
from device import errors, files
from device.manifest import Frozen
from scripts import studies


class Method(Frozen):
    """One line of the table: steps before the further training, without their budget."""

    name: str
    by: Literal["control", "torch-pruning", "fieldwren"]
    steps: tuple[dict[str, Any], ...]
    scratch: bool = Field(False, description="the pruned shape anew, trained for all epochs")
    distil: bool = Field(False, description="further training with the baseline as teacher")
    views: int | None = Field(
        None, ge=1, description="epochs of its batches, with `distil`: the teacher sees each once"
    )
    lr: float | None = Field(None, gt=0, description="of the further training, if not the study's")
    seeds: tuple[int, ...] | None = None
    budgets: tuple[studies.Share, ...] | None = None
    match: str | None = Field(None, description="method whose share, of the same seed, is kept")
    shape_of: str | None = Field(
        None, description="method whose channels go before anything is trained, for all epochs"
    )

    @property
    def anew(self) -> bool:
        """Trained from the network as it was built."""
        return self.scratch or self.shape_of is not None

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        if self.shape_of is not None and (self.steps or self.scratch or self.match is not None):
            raise ValueError("shape_of says what goes: no steps, scratch or match beside it")
        return self


Cell = tuple[int, Method, float | None]  # seed, method, budget


class Study(Frozen):
    """The file."""

    recipe: str
    seeds: tuple[int, ...] = Field(min_length=1)
    budgets: tuple[studies.Share, ...] = Field(
        (), description="shares of multiply-accumulates kept; none: the steps choose"
    )
    finetune: Schedule
    method: tuple[Method, ...]

    _distinct = field_validator("method")(studies.distinct)

    @model_validator(mode="after")
    def _shapes(self) -> Self:
        named = {method.name: method for method in self.method}
        for method in self.method:
            if method.match is not None:
                other = named.get(method.match)
                if other is None or other.match is not None:
                    raise ValueError(
                        f'{method.name}: match: "{method.match}" is no method that finds a share'
                    )
            if method.shape_of is None:
                continue
            other = named.get(method.shape_of)
            if other is None or not other.steps or other.scratch:
                raise ValueError(
                    f'{method.name}: shape_of: "{method.shape_of}" is no method that prunes a '
                    "trained network"
                )
        return self

    def cells(self) -> list[Cell]:
        """Seed, method and budget of each."""
        return [
            (seed, method, budget)
            for seed in self.seeds
            for method in self.method
            for budget in method.budgets or self.budgets or (None,)
            if seed in (method.seeds or self.seeds)
        ]

    def shaping(self, method: Method) -> Method | None:
        """The method that `shape_of` names."""
        return next((other for other in self.method if other.name == method.shape_of), None)

    def first(self, seed: int, method: Method, budget: float | None) -> Cell | None:
        """The cell that must be done before this one: of `shape_of`, or of `match`."""
        if method.match is not None:
            return next((seed, other, None) for other in self.method if other.name == method.match)
        other = self.shaping(method)
        return None if other is None else (seed, other, budget)


class Row(Frozen):
    """What came out of one cell."""

    method: str
    by: str
    budget: float | None
    seed: int
    macs: int
    parameters: int
    baseline_macs: int
    cut: float | None = Field(description="validation score before the further training")
    validation: float
    baseline_validation: float
    test: float
    baseline_test: float
    seconds: float
    key: str | None = Field(None, description="of what the cell was asked for; None: not known")
    data: str | None = Field(None, description="that it is of (studies.data); None: not known")


def check(study: Study) -> None:
    """Whatever can be known of the cells before anything is trained.

    Raises:
        BadInputError: a step is none, they train for longer than the study allows, or a method
            whose shape is wanted has no such cell or changes more than channels.
    """
    cells = study.cells()
    for seed, method, budget in cells:
        _any(study, method, budget)
        first = study.first(seed, method, budget)
        if first is None:
            continue
        if first not in cells:
            named = "shape_of" if method.match is None else "match"
            raise errors.BadInputError(
                f"{method.name}: {named}: the study has no cell "
                f"{name(first[1].name, first[2], first[0])}"
            )
        if method.match is not None:
            continue
        for kind in map(advance.kind, _any(study, first[1], budget)):
            if STAGES[kind].rebuild not in (cut, same):
                raise errors.BadInputError(
                    f"{method.name}: shape_of: {kind} changes more than channels"
                )


def _any(study: Study, method: Method, budget: float | None) -> list[Change]:
    """The steps; the share of one that is to match another is not known yet."""
    return steps(study, method, 0.5 if method.match is not None else budget)


def steps(study: Study, method: Method, share: float | None) -> list[Change]:
    """A cell's steps and its further training.

    Raises:
        BadInputError: a step is none, or they train for longer than the study allows.
    """
    budget = None if share is None else {"macs": share}
    found = [studies.step(method.name, table, budget) for table in method.steps]
    schedule = study.finetune
    left = schedule.epochs - sum(s.epochs for s in found if isinstance(s, Schedule))
    if left < 1:
        raise errors.BadInputError(
            f"{method.name}: its steps leave no epoch of the study's {schedule.epochs} to fine-tune"
        )
    further = {**schedule.model_dump(), "kind": "finetune", "epochs": left}
    further |= {"distil": method.distil, "views": method.views}
    if method.lr is not None:
        further["lr"] = method.lr
    return [*found, studies.step(method.name, further)]


def name(method: str, budget: float | None, seed: int) -> str:
    """A cell's, in paths."""
    share = "found" if budget is None else studies.exact(budget)
    return f"{studies.slug(method).strip('-')}-{share}-seed{seed}"


def key(study: Study, seed: int, method: Method, budget: float | None) -> str:
    """Of everything that a cell is asked for but the data, which its row holds beside it."""
    asked = method.model_dump(exclude_defaults=True, exclude={"by", "seeds", "budgets"})
    table = study.finetune.model_dump(exclude_defaults=True)
    first = study.first(seed, method, budget)
    other = () if first is None else (key(study, *first),)
    return store.key(files.sha256(recipe.find(study.recipe)), table, asked, budget, seed, *other)


def row(out: Path, method: Method, budget: float | None, seed: int) -> Path:
    """Where a cell's scores are."""
    return out / "rows" / f"{name(method.name, budget, seed)}.json"


def done(study: Study, out: Path, seed: int, method: Method, budget: float | None) -> bool:
    """Is there a row of this very cell? A changed method, schedule or recipe asks for another."""
    path = row(out, method, budget, seed)
    if not path.exists():
        return False
    known = Row.model_validate_json(path.read_bytes()).key
    return known in (None, key(study, seed, method, budget))


def finished(study: Study, out: Path) -> list[tuple[Cell, Row]]:
    """The study's cells that are done, with their rows."""
    return [
        (cell, Row.model_validate_json(row(out, cell[1], cell[2], cell[0]).read_bytes()))
        for cell in study.cells()
        if done(study, out, *cell)
    ]


def awaited(study: Study, out: Path, seed: int, method: Method, budget: float | None) -> str | None:
    """The method whose cell must be done before this one, if it is not."""
    first = study.first(seed, method, budget)
    return None if first is None or done(study, out, *first) else first[1].name
