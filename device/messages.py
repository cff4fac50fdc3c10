"""What Fieldwren says over MQTT: every topic and every payload, frozen.

Detections carry BirdNET-Go's field names, so that whatever reads those reads ours. Python names
are snake_case; the names on the wire are the aliases. The JSON Schema files in device/schemas
are made from these classes (`python -m device schemas`), and a contract test holds both.
"""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from device.manifest import Sha256
from device.species import species

App = Literal["birds", "speech"]

# below fieldwren/<station>/
STATUS = "status"
DETECTION = "birds/detection"
EVENT = "birds/event"
SNAPSHOT = "birds/snapshot"
BIRDS_TELEMETRY = "birds/telemetry"
SPEECH_TELEMETRY = "speech/telemetry"

ONLINE, OFFLINE = b"online", b"offline"

ID_BITS = 53  # every JSON reader, JavaScript's included, keeps this many exactly

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Moment = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]


def audio_topic(station: str) -> str:
    """Where cleaned audio goes: Hermes frames, each one complete WAV file, outside our base."""
    return f"hermes/audioServer/{station}/audioFrame"


def utc(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Source:
    """Where frames come from: a stable id, its kind ("file", "rtsp", …) and a name to show."""

    id: str
    type: str
    name: str


@dataclass(frozen=True)
class ModelId:
    """Which model spoke."""

    name: str
    version: str
    sha256: str


class Payload(BaseModel):
    """Base of every payload: immutable, no unknown fields, no NaN or infinity."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )

    def encode(self) -> bytes:
        """The JSON that is published."""
        return self.model_dump_json(by_alias=True).encode()


class Detection(Payload):
    """…/birds/detection: one finished visit of one bird."""

    schema_: Literal[1] = Field(1, alias="schema")
    date: str = Field(
        alias="Date", pattern=r"^\d{4}-\d\d-\d\d$", description="of the visit's begin, local"
    )
    time: str = Field(alias="Time", pattern=r"^\d\d:\d\d:\d\d$", description="local time")
    timezone: str = Field(description="of Date and Time: name and offset, such as CET+01:00")
    begin_time: Moment = Field(alias="BeginTime", description="first frame with the bird, UTC")
    end_time: Moment = Field(alias="EndTime", description="last frame with the bird, UTC")
    common_name: str = Field(alias="CommonName", min_length=1)
    scientific_name: str = Field(alias="ScientificName", description="empty when not known")
    confidence: Share = Field(alias="Confidence", description="mean vote of the visit")
    frames: int = Field(gt=0, description="classified frames that voted")
    latitude: float | None = Field(None, alias="Latitude", ge=-90, le=90)
    longitude: float | None = Field(None, alias="Longitude", ge=-180, le=180)
    clip_name: str = Field("", alias="ClipName", description="snapshot file, or empty")
    processing_time: float = Field(
        alias="ProcessingTime", ge=0, description="nanoseconds, one classification"
    )
    detection_id: int = Field(
        alias="detectionId", ge=0, lt=2**ID_BITS, description="receivers drop repeats by it"
    )
    source_id: str = Field(alias="sourceId")
    source_type: str = Field(alias="sourceType")
    source_name: str = Field(alias="sourceName")
    model_name: str = Field(alias="modelName")
    model_version: str = Field(alias="modelVersion")
    model_sha256: Sha256 = Field(alias="modelSha256")
    replayed: bool = Field(False, description="not delivered in the connection it was made in")

    @classmethod
    def of_visit(
        cls,
        label: str,
        confidence: float,
        frames: int,
        *,
        begin: float,
        end: float,
        seconds: float,
        source: Source,
        model: ModelId,
        clip_name: str = "",
    ) -> "Detection":
        """A visit as a message with an id of its own.

        Args:
            label: the model's label, such as `Blue_Jay`.
            confidence: mean vote, 0…1.
            frames: how many classified frames voted.
            begin, end: first and last frame with the bird, seconds since the epoch.
            seconds: time one classification took.
        """
        common, scientific = species(label)
        local = datetime.fromtimestamp(begin).astimezone()
        offset = local.strftime("%z")
        return cls(
            date=local.strftime("%Y-%m-%d"),
            time=local.strftime("%H:%M:%S"),
            timezone=f"{local.tzname()}{offset[:3]}:{offset[3:5]}",
            begin_time=utc(begin),
            end_time=utc(end),
            common_name=common,
            scientific_name=scientific,
            confidence=confidence,
            frames=frames,
            clip_name=clip_name,
            processing_time=seconds * 1e9,
            detection_id=secrets.randbits(ID_BITS),
            source_id=source.id,
            source_type=source.type,
            source_name=source.name,
            model_name=model.name,
            model_version=model.version,
            model_sha256=model.sha256,
        )

    def encode(self) -> bytes:
        """The JSON that is published; a place that is not known is left out."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class BirdEvent(Payload):
    """…/birds/event: for Home Assistant's event entity. Sent live or not at all."""

    event_type: Literal["bird"] = "bird"
    species: str = Field(min_length=1, description="common name")
    confidence: Share


class BirdsTelemetry(Payload):
    """…/birds/telemetry: counts since the start of the app."""

    time: Moment
    source: Literal["live", "stalled", "ended"]
    fps: float = Field(ge=0, description="frames looked at per second")
    frames_seen: Count = Field(alias="framesSeen")
    frames_dropped: Count = Field(alias="framesDropped", description="overtaken by newer ones")
    motion_frames: Count = Field(alias="motionFrames")
    classified: Count = Field(description="regions given to the model")
    visits: Count
    detections: Count
    abstained: Count = Field(description="visits without a clear vote")
    outbox_pending: Count = Field(alias="outboxPending")
    outbox_dropped: Count = Field(
        alias="outboxDropped", description="the oldest, to stay within the outbox's bounds"
    )
    outbox_lost: Count = Field(
        alias="outboxLost", description="not written, disk full or failing: sent once or not at all"
    )
    outbox_corrupt: Count = Field(
        alias="outboxCorrupt", description="damaged outbox files moved aside, with what they held"
    )


class SpeechTelemetry(Payload):
    """…/speech/telemetry: counts since the start of the app, RTF and level since the last one."""

    time: Moment
    rtf_p50: float = Field(alias="rtfP50", ge=0, description="processing time / time of the sound")
    rtf_p95: float = Field(alias="rtfP95", ge=0)
    rtf_p99: float = Field(alias="rtfP99", ge=0)
    latency: float = Field(alias="latencyMs", ge=0, description="microphone to output, ms")
    level: float = Field(alias="levelDbfs", le=20, description="RMS of the input, dBFS")
    frames: Count = Field(description="hops processed")
    xruns: Count
    drops: Count = Field(description="blocks lost before processing")
    bypasses: Count = Field(description="hops passed on dry because processing was late")
    temperature: float | None = Field(alias="temperatureC", description="of the processor")
    model_name: str = Field(alias="modelName")
    model_version: str = Field(alias="modelVersion")
    model_sha256: Sha256 = Field(alias="modelSha256")


PAYLOADS: dict[str, type[Payload]] = {
    DETECTION: Detection,
    EVENT: BirdEvent,
    BIRDS_TELEMETRY: BirdsTelemetry,
    SPEECH_TELEMETRY: SpeechTelemetry,
}


def json_schema(topic: str) -> dict[str, Any]:
    """The JSON Schema of the payload on a topic of `PAYLOADS`."""
    return PAYLOADS[topic].model_json_schema(by_alias=True, mode="serialization")


def schema_file(topic: str) -> str:
    """The name of that schema's file in device/schemas."""
    return f"{topic.replace('/', '-')}.json"


def mark_replayed(payload: bytes) -> bytes:
    """The same JSON with `replayed` true; a payload without that field stays as it is."""
    values = json.loads(payload)
    if "replayed" not in values:
        return payload
    return json.dumps(
        values | {"replayed": True}, separators=(",", ":"), ensure_ascii=False
    ).encode()
