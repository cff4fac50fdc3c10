"""The enhancer's mask networks by the `kind` that a recipe's [model] gives, with their settings."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveInt, Tag, model_validator

from device.manifest import Frozen, SpectrumInput
from models.fullsubnet import FullSubNet
from models.fullsubnet_fast import FastFullSubNet
from models.masks import MaskNet
from models.tcn import TCN
from models.tcn_bands import BandTCN
from models.tcn_hybrid import TCNHybrid

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
MEMORY = 192  # frames of 16 ms: as long as a training mixture, beyond which nothing was learned


class Front(Frozen):
    """What every network hears and answers."""

    n_fft: int = Field(512, gt=0, description="samples")
    hop: int = Field(256, gt=0, description="samples; n_fft must be a multiple of twice the hop")
    feature: Literal["compressed_magnitude", "compressed_complex"] = "compressed_magnitude"
    exponent: float = Field(0.3, gt=0, le=1)
    mask: Literal["magnitude", "complex"] = "magnitude"
    lookahead: int = Field(0, ge=0, description="frames heard before a frame's mask is given")
    start: str | None = Field(
        None, description="weights to go on from (.safetensors), below the data folders or shipped"
    )

    @model_validator(mode="after")
    def _windows_add_up(self) -> "Front":
        if self.n_fft % (2 * self.hop):
            raise ValueError(f"n_fft {self.n_fft} is not a multiple of twice the hop {self.hop}")
        return self

    @property
    def bins(self) -> int:
        """Of a spectrum."""
        return self.n_fft // 2 + 1


class Tcn(Front):
    """Causal TCN on the spectrum, a mask for every frame."""

    kind: Literal["tcn"] = "tcn"
    residual: int = Field(160, gt=0)
    hidden: int = Field(320, gt=0)
    dilations: Widths = (1, 2, 4, 8, 16, 1, 2, 4, 8, 16)

    def build(self, rate: int) -> MaskNet:
        """A fresh network."""
        return TCN(
            inputs=self.bins * (2 if self.feature == "compressed_complex" else 1),
            outputs=self.bins * (2 if self.mask == "complex" else 1),
            mask=self.mask,
            residual=self.residual,
            hidden=self.hidden,
            dilations=self.dilations,
            lookahead=self.lookahead,
        )


class Bands(Front):
    """Causal TCN shared by the bands of the spectrum, with a narrow full-band path."""

    kind: Literal["band-tcn"]
    n_fft: Literal[512] = 512
    feature: Literal["compressed_magnitude"] = "compressed_magnitude"
    mask: Literal["magnitude"] = "magnitude"
    channels: int = Field(32, gt=0, multiple_of=2, description="of a band")
    hidden: int = Field(64, gt=0, description="channels inside a block")
    taken: int = Field(8, gt=0, description="values of a band that the full-band path reads")
    mixed: int = Field(64, gt=0, description="units of that path")
    taps: int = Field(3, gt=1, description="frames that a block hears")
    dilations: Widths = (1, 2, 4, 8, 16)
    memory: int = Field(MEMORY, gt=0, description="frames that the input's mean level is of")

    def build(self, rate: int) -> MaskNet:
        """A fresh network."""
        return BandTCN(
            channels=self.channels,
            hidden=self.hidden,
            taken=self.taken,
            mixed=self.mixed,
            taps=self.taps,
            dilations=self.dilations,
            lookahead=self.lookahead,
            memory=self.memory,
        )


class SubBands(Front):
    """What the networks with a sub-band part share; they hear magnitudes."""

    feature: Literal["compressed_magnitude"] = "compressed_magnitude"
    sub: Widths = Field((384, 384), description="units of the sub-band LSTM layers")
    lookahead: int = Field(2, ge=0, description="frames")
    memory: int = Field(
        MEMORY, ge=0, description="frames that the running means are of; 0: all, as published"
    )


class Bins(SubBands):
    """Those whose bands are the bins of the spectrum."""

    reach: int = Field(15, ge=0, description="neighbours of a band on each side")

    @model_validator(mode="after")
    def _there_are_neighbours(self) -> "Bins":
        _check_reach(self.reach, self.bins)
        return self


class Published(Bins):
    """FullSubNet: an LSTM for the whole band, one for every band with its neighbours."""

    kind: Literal["fullsubnet"]
    full: Widths = Field((512, 512), description="units of the full-band LSTM layers")

    def build(self, rate: int) -> MaskNet:
        """A fresh network."""
        return FullSubNet(
            self.bins,
            self.mask,
            self.full,
            self.sub,
            self.reach,
            self.lookahead,
            self.memory or None,
        )


class Fast(SubBands):
    """Fast FullSubNet: the sub-band LSTM on shared mel bands, each in every s-th frame."""

    kind: Literal["fast-fullsubnet"]
    bands: int = Field(64, gt=0, description="mel bands, a multiple of the stride")
    encoder: Widths = Field((384, 257), description="units of the encoder's LSTM layers")
    decoder: Widths = Field((512, 512), description="units of the decoder's LSTM layers")
    reach: int = Field(5, ge=0, description="neighbours of a band on each side")
    stride: int = Field(2, gt=0, description="frames between two steps of a band")
    normed: bool = Field(False, description="batch norms in front of the LSTMs: learns far sooner")

    @model_validator(mode="after")
    def _every_turn_is_alike(self) -> "Fast":
        if self.bands % self.stride:
            raise ValueError(f"{self.bands} bands are not a multiple of the stride {self.stride}")
        if 0 < self.memory < self.stride:
            raise ValueError(f"memory {self.memory} is less than the stride {self.stride}")
        return self

    @model_validator(mode="after")
    def _there_are_neighbours(self) -> "Fast":
        _check_reach(self.reach, self.bands)
        return self

    def build(self, rate: int) -> MaskNet:
        """A fresh network."""
        return FastFullSubNet(
            self.bins,
            self.mask,
            self.bands,
            self.encoder,
            self.sub,
            self.decoder,
            self.reach,
            self.stride,
            lookahead=self.lookahead,
            memory=self.memory or None,
            normed=self.normed,
            rate=rate,
        )


class Hybrid(Bins):
    """FullSubNet whose full-band part is a TCN."""

    kind: Literal["tcn-hybrid"]
    hidden: int = Field(512, gt=0, description="channels inside a full-band block")
    dilations: Widths = (1, 2, 5, 9) * 4

    def build(self, rate: int) -> MaskNet:
        """A fresh network."""
        return TCNHybrid(
            self.bins,
            self.mask,
            self.hidden,
            self.dilations,
            self.sub,
            self.reach,
            self.lookahead,
            self.memory or None,
        )


def _check_reach(reach: int, bands: int) -> None:
    """Reflected once at the ends, there are no more neighbours than other bands."""
    if reach >= bands:
        raise ValueError(f"reach {reach} is beyond the other {bands - 1} of {bands} bands")


def _kind(value: Any) -> str:
    """The tag; recipes that name none mean the TCN."""
    return str(value.get("kind", "tcn") if isinstance(value, dict) else value.kind)


Network = Annotated[
    Annotated[Tcn, Tag("tcn")]
    | Annotated[Bands, Tag("band-tcn")]
    | Annotated[Published, Tag("fullsubnet")]
    | Annotated[Fast, Tag("fast-fullsubnet")]
    | Annotated[Hybrid, Tag("tcn-hybrid")],
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message=(
            "no such kind; there are tcn, band-tcn, fullsubnet, fast-fullsubnet, tcn-hybrid"
        ),
    ),
]


def front_end(network: Network, rate: int) -> SpectrumInput:
    """What a device does before and after the network."""
    return SpectrumInput(
        rate=rate,
        n_fft=network.n_fft,
        hop=network.hop,
        feature=network.feature,
        exponent=network.exponent,
        mask=network.mask,
        lookahead=network.lookahead,
    )
