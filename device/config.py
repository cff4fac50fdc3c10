"""The one TOML file for both pipelines: frozen, typed, unknown keys refused.

Any value can come from the environment instead: FIELDWREN_MQTT__PASSWORD=… overrides
[mqtt] password. Secrets are never printed.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from device import tables
from device.errors import BadInputError, first_problem
from device.signing import Policy

Port = Annotated[int, Field(ge=1, le=65535)]
DAY = 86_400.0  # seconds
Seconds = Annotated[float, Field(gt=0, le=DAY)]  # in milliseconds it fits OpenCV's 32 bits
Share = Annotated[float, Field(ge=0, le=1)]
Threads = Annotated[int, Field(ge=1, le=os.cpu_count() or 1)]
PREFIX = "FIELDWREN_"  # of environment variables
# paho and the broker refuse these in a topic only when it is used
IN_TOPICS = r"[^+#\x00]"


def _number_as_name(value: Any) -> Any:
    """0 is the camera "0"; true is none."""
    return str(value) if type(value) is int else value


Device = Annotated[str, BeforeValidator(_number_as_name)]  # a name, or a number


class Section(BaseModel):
    """Base of every table in the file. No number in it is infinite or none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Mqtt(Section):
    """Broker and topics."""

    host: str = Field("127.0.0.1", min_length=1)
    port: Port = 1883
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    ca_file: Path | None = Field(None, description="turns TLS on")
    base_topic: str = Field("fieldwren", pattern=rf"^{IN_TOPICS}+$")
    discovery_prefix: str = Field(
        "homeassistant", pattern=rf"^{IN_TOPICS}*$", description="Home Assistant; empty = off"
    )
    keepalive: int = Field(20, ge=5, le=65535, description="seconds")

    @field_validator("host")
    @classmethod
    def _host_can_be_asked_for(cls, host: str) -> str:
        """The resolver refuses these only while the app runs. Not shown: a URL has a password."""
        if "/" in host or not host.isprintable() or " " in host:
            raise ValueError("not a host name: give a name or an address, such as broker.lan")
        try:
            host.encode("idna")  # as socket.getaddrinfo does
        except UnicodeError as error:
            raise ValueError(
                "not a host name: between dots it needs 1 to 63 characters that names may have"
            ) from error
        return host

    @model_validator(mode="after")
    def _password_has_user(self) -> Self:
        """Without a user name no password is sent."""
        if self.username is None and (self.password or self.password_file):
            raise ValueError("a password without a username is not sent: set both or none")
        return self


class Outbox(Section):
    """Detections kept on disk until the broker has acknowledged them; the oldest go first."""

    max_rows: int = Field(100_000, gt=0)
    max_bytes: int = Field(64 * 1024 * 1024, gt=0)
    max_age: float = Field(30 * DAY, gt=0, le=36_500 * DAY, description="seconds")


class Bundles(Section):
    """Which bundles are trusted."""

    signature: Policy = Policy.WARN
    trusted_keys: tuple[Path, ...] = Field((), description="folders of .pub files")


class Motion(Section):
    """The gate before the classifier."""

    width: int = Field(320, ge=64, description="pixels; frames are shrunk to it for the gate")
    threshold: float = Field(16, gt=0, description="grey levels that count as change")
    min_area: Share = Field(0.001, description="share of the frame a region must cover")
    max_area: Share = Field(0.8, description="a larger change is a change of scene, not a bird")
    max_regions: int = Field(4, ge=1, description="regions classified per frame, largest first")
    warm_up: Seconds = Field(1.0, description="seconds of learning the background at the start")
    memory: Seconds = Field(10.0, description="seconds in which the background follows the scene")
    patience: Seconds = Field(60.0, description="seconds until what stays becomes background")
    margin: float = Field(1.25, ge=1, description="crop = region × margin, squared")


class Visits(Section):
    """From single classifications to one detection per visit."""

    gap: Seconds = Field(2.0, description="seconds without the bird that end a visit")
    max_length: Seconds = Field(60.0, description="a visit that lasts longer is reported and split")
    min_frames: int = Field(3, ge=1, description="classified frames a visit needs")
    min_confidence: Share = Field(0.5, description="mean vote below which the visit abstains")
    background: tuple[str, ...] = Field(
        ("background",), description="labels that mean there is no bird"
    )
    snapshot_bytes: int = Field(
        256 * 1024 * 1024, ge=0, description="snapshots kept on disk; the oldest go first"
    )


class Birds(Section):
    """Camera → birds."""

    source: Device = Field(description="file, rtsp://…, http://…, /dev/video0 or a camera number")
    bundle: Path
    threads: Threads = 1
    max_fps: float = Field(10, gt=0, description="frames looked at per second")
    pace: bool = Field(True, description="play files at their own speed")
    open_timeout: Seconds = 5
    read_timeout: Seconds = 5
    motion: Motion = Motion()
    visits: Visits = Visits()


class Speech(Section):
    """Microphones → clean speech."""

    device: Device = Field(description="PortAudio input device name or number, or a .wav file")
    channels: int = Field(1, ge=1, le=64)
    rate: int = Field(16_000, ge=8_000, le=192_000, description="Hz the device runs at")
    reference: int = Field(0, ge=0, description="the channel that is enhanced")
    block: int = Field(320, ge=32, le=65_536, description="samples per PortAudio callback")
    buffer: float = Field(2.0, gt=0, le=60, description="seconds of audio the ring holds")
    bundle: Path
    threads: Threads = 1
    wet: Share = Field(1.0, description="1 = enhanced only, 0 = dry")
    max_attenuation: float | None = Field(None, gt=0, description="dB; none = no limit")
    telemetry_interval: Seconds = 5
    stall_timeout: Seconds = Field(2.0, description="seconds without a callback = a dead device")


class Environment(EnvSettingsSource):
    """FIELDWREN_… variables."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """A list or a table. The value is not shown: it may hold a password."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError as error:
            # called with the last part of the name only, so the variable is found by its value
            name = next(
                name
                for name, content in self.env_vars.items()
                if content == value
                and name.startswith(PREFIX.lower())
                and name.endswith(field_name)
            )
            raise BadInputError(
                f"{name.upper()}: a list or a table must be given as JSON, such as "
                "FIELDWREN_BUNDLES__TRUSTED_KEYS='[\"/etc/keys\"]' or "
                "FIELDWREN_MQTT='{\"port\": 1883}'"
            ) from error


class Config(BaseSettings):
    """The whole file."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__"
    )

    station: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    state_dir: Path = Path("var")
    mqtt: Mqtt = Mqtt()
    outbox: Outbox = Outbox()
    bundles: Bundles = Bundles()
    birds: Birds | None = None
    speech: Speech | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file."""
        assert isinstance(init_settings, InitSettingsSource)
        return Environment(settings_cls), init_settings


def load(path: Path) -> Config:
    """Read and check a configuration file. Relative paths in it start at the file's folder.

    Raises:
        BadInputError: no file, not TOML, an unknown key or a value out of range (with its path),
            or an environment variable that is not the JSON it should be.
    """
    values, _ = tables.read(path)
    try:
        config = Config(**values)
    except ValidationError as error:
        raise BadInputError(f"{path}: {first_problem(error)}") from error
    return _resolve(config, path.absolute().parent)


def password(mqtt: Mqtt) -> str | None:
    """The broker's password from the setting, the environment or its file."""
    if mqtt.password is not None:
        return mqtt.password.get_secret_value()
    if mqtt.password_file is None:
        return None
    try:
        return mqtt.password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadInputError(
            f"mqtt.password_file: {mqtt.password_file}: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"mqtt.password_file: {mqtt.password_file}: not UTF-8: save it as such"
        ) from error


def _resolve(config: Config, base: Path) -> Config:
    """Make every path in the configuration absolute."""

    def absolute(value: Any) -> Any:
        if isinstance(value, Path):
            return base / value
        if isinstance(value, tuple):
            return tuple(absolute(item) for item in value)
        if isinstance(value, Section):
            changes = {name: absolute(getattr(value, name)) for name in type(value).model_fields}
            return value.model_copy(update=changes)
        return value

    changes = {name: absolute(getattr(config, name)) for name in Config.model_fields}
    return config.model_copy(update=changes)
