"""What a bundle's manifest.json says (schema 1): tensors by name, origin, figures, hashes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
# pixels are 0…255: what is beyond these is no preprocessing, and not finite in float32
Mean = Annotated[Finite, Field(ge=-1e6, le=1e6)]
Std = Annotated[Finite, Field(ge=1e-6, le=1e6)]
Tolerance = Annotated[Finite, Field(gt=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Frozen(BaseModel):
    """Base of every manifest record: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(Frozen):
    """One tensor of the model. `key` is its name in the TFLite signature, `name` is ours."""

    name: str
    key: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "int8", "uint8"]
    scale: float | None = None
    zero_point: int | None = None
    meaning: str


class RingSpec(Frozen):
    """The history one block needs: vectors of `width` values as they were `delays` frames ago."""

    width: int = Field(gt=0)
    delays: tuple[int, ...]


class StateSpec(Frozen):
    """A state tensor, zero at the start of a stream.

    Without rings, `output` of frame t is `input` of frame t+1. With rings, `output` [1, Σ width]
    holds each ring's newest vector, and `input` [1, Σ width·len(delays)] is, ring after ring and
    delay after delay, the vectors pushed that many frames ago: the host keeps the history.
    """

    input: str
    output: str
    rings: tuple[RingSpec, ...] = ()


class ImageInput(Frozen):
    """Pixels → tensor: stretch to height × width, RGB, (pixel − mean) / std, batch NHWC."""

    kind: Literal["image"] = "image"
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    mean: tuple[Mean, Mean, Mean]
    std: tuple[Std, Std, Std]


class SpectrumInput(Frozen):
    """Samples → tensor: square-root Hann STFT frames, see device/enhancer.py for the formulas."""

    kind: Literal["spectrum"] = "spectrum"
    rate: int = Field(gt=0, description="Hz")
    n_fft: int = Field(gt=0, description="window and transform length, samples")
    hop: int = Field(gt=0, description="samples")
    feature: Literal["compressed_magnitude", "compressed_complex"]
    exponent: float = Field(gt=0, le=1)
    mask: Literal["magnitude", "complex"]
    lookahead: int = Field(0, ge=0, description="the mask of frame t − lookahead leaves at t")


class Latency(Frozen):
    """Measured time of one invocation, milliseconds, and where it was measured."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    runs: int
    threads: int
    machine: str
    runtime: str
    others: float | None = Field(
        None,
        description="share of the time in which the processor did other work, 0 to 1; older "
        "bundles do not say",
    )


class Figures(Frozen):
    """Quality and cost of one network. Parameters are counted once each."""

    quality: dict[str, float]
    macs: int = Field(description="multiply-accumulates per image or per frame")
    parameters: int
    bytes: int = Field(description="size of model.tflite")
    latency: Latency


class Data(Frozen):
    """What the network learned from."""

    description: str
    licence: str
    fingerprint: str


class Manifest(Frozen):
    """The whole of manifest.json."""

    schema_: Literal[1] = Field(1, alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    version: str = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")
    task: Literal["classify", "enhance"]
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    states: tuple[StateSpec, ...] = ()
    preprocessing: Annotated[ImageInput | SpectrumInput, Field(discriminator="kind")]
    temperature: Finite = Field(
        1.0, gt=0, description="divides a classifier's logits, so that its confidence is honest"
    )
    golden_tolerance: Tolerance = Field(description="largest |output − golden| accepted")
    golden_tolerances: dict[str, Tolerance] = Field(
        {}, description="the same of single outputs, by name; the one above is for all others"
    )
    parent: Sha256 | None = Field(None, description="model.tflite this one was made from")
    recipe: str
    seed: int
    data: Data
    tools: dict[str, str]
    baseline: Figures | None = None
    result: Figures
    files: dict[str, Sha256]

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def tolerance(self, output: str) -> float:
        """Largest |output − golden| accepted of one output."""
        return self.golden_tolerances.get(output, self.golden_tolerance)
