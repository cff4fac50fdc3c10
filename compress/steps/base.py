"""What the tables of several steps share: schedules, budgets, names of criteria."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from compress import criteria
from compress.precision import Precision
from device.manifest import Frozen

TARGETS = ("ratio", "macs", "parameters", "bytes", "milliseconds")


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
    precision: Precision = Field(
        "bf16-mixed", description="float32 all the same where bfloat16 is emulated"
    )
    channels_last: bool = True
    compiled: bool = Field(
        False,
        description="by torch.compile, which needs a C++ compiler: faster steps, rounded otherwise",
    )


class Distil(Frozen):
    """Whom a network learns from beside the data, and which layers; weights of the answers are in
    the task's [loss]."""

    teacher: str = Field("baseline", description='"baseline", a bundle, a .tflite or an .onnx file')
    labels: str | None = Field(
        None, description="of a classifier's .tflite or .onnx: a file, one a line"
    )
    hints: dict[str, str] = Field(
        {}, description="FitNets: the network's layer = the baseline's layer"
    )
    hint_weight: float = Field(1.0, gt=0)
    hint_lr: float = Field(1e-3, gt=0, description="of the regressors, Adam")
    attention: dict[str, str] = Field({}, description="attention transfer: layers as in hints")
    attention_weight: float = Field(1000.0, gt=0)
    cache: str | None = Field(None, description="folder where a file's answers are kept")


class Tuning(Schedule):
    """Further training, on request with a teacher: true means the baseline."""

    distil: bool | Distil = False
    views: int | None = Field(
        None,
        gt=0,
        description="epochs after which the same views come again: the teacher sees each once, "
        "and its answers stay in memory",
    )

    @field_validator("distil", mode="before")
    @classmethod
    def _table_or_not(cls, value: Any) -> Any:
        """A table is told what is wrong in it, not that it is no boolean."""
        if isinstance(value, dict):
            return Distil.model_validate(value, strict=True)
        if not isinstance(value, bool | Distil):
            raise ValueError("give true, false or a table")
        return value

    @model_validator(mode="after")
    def _seen(self) -> Self:
        if self.views and not self.distil:
            raise ValueError("views: they spare a teacher work: only with distil")
        inside = isinstance(self.distil, Distil) and (self.distil.hints or self.distil.attention)
        if self.views and inside:
            raise ValueError(
                "views: hints and attention look at the teacher's layers in every epoch"
            )
        return self


class Budget(Frozen):
    """How much is pruned, and where. One of the first five is given."""

    ratio: float | None = Field(None, gt=0, lt=1, description="share of channels removed")
    macs: float | None = Field(None, gt=0, lt=1, description="share of multiply-accumulates kept")
    parameters: float | None = Field(None, gt=0, lt=1, description="share of parameters kept")
    bytes: int | None = Field(None, gt=0, description="largest exported float32 file")
    milliseconds: float | None = Field(
        None, gt=0, description="longest run of that file here, on one thread, undisturbed"
    )
    max_ratio: float = Field(0.9, gt=0, lt=1, description="largest share one group may lose")
    round_to: int = Field(8, gt=0, description="channel counts are kept at multiples of this")
    keep: tuple[str, ...] = Field(
        (), description="patterns of layer names, as of files: groups with such a layer stay whole"
    )

    @property
    def target(self) -> tuple[str, float]:
        """The key that is given, and its value."""
        given = {key: getattr(self, key) for key in TARGETS}
        return next((key, value) for key, value in given.items() if value is not None)

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if sum(getattr(self, key) is not None for key in TARGETS) != 1:
            raise ValueError(f"give exactly one of {', '.join(TARGETS)}")
        return self


def known_criterion(name: str) -> str:
    """A validator: the name of a criterion."""
    if name not in criteria.CRITERIA:
        raise ValueError(f"no criterion {name!r}; there are {', '.join(criteria.CRITERIA)}")
    return name
