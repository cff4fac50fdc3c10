"""Topics and payloads are a contract with other people's programs: they do not drift."""

import json
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from compress.defaults import birds as defaults
from device import messages, species
from device.__main__ import SCHEMAS
from device.messages import (
    BirdEvent,
    BirdsTelemetry,
    Detection,
    ModelId,
    Payload,
    Source,
    SpeechTelemetry,
    mark_replayed,
)

SHA = "ab" * 32
SOURCE = Source("feeder", "rtsp", "Feeder camera")
MODEL = ModelId("birds", "0.1.0", SHA)
BEGIN = 1705329000.25  # 2024-01-15 14:30:00.25 UTC

DETECTION = {
    "schema": 1,
    "Date": "2024-01-15",
    "Time": "15:30:00",
    "timezone": "CET+01:00",
    "BeginTime": "2024-01-15T14:30:00.250Z",
    "EndTime": "2024-01-15T14:30:04.500Z",
    "CommonName": "Blue Jay",
    "ScientificName": "Cyanocitta cristata",
    "Confidence": 0.93,
    "frames": 7,
    "ClipName": "visit.jpg",
    "ProcessingTime": 12500000.0,
    "sourceId": "feeder",
    "sourceType": "rtsp",
    "sourceName": "Feeder camera",
    "modelName": "birds",
    "modelVersion": "0.1.0",
    "modelSha256": SHA,
    "replayed": False,
}
BIRDS_TELEMETRY = {
    "time": "2024-01-15T14:30:00.250Z",
    "source": "live",
    "fps": 9.5,
    "framesSeen": 100,
    "framesDropped": 3,
    "motionFrames": 20,
    "classified": 25,
    "visits": 4,
    "detections": 3,
    "abstained": 1,
    "outboxPending": 0,
    "outboxDropped": 0,
    "outboxLost": 2,
    "outboxCorrupt": 0,
}
SPEECH_TELEMETRY = {
    "time": "2024-01-15T14:30:00.250Z",
    "rtfP50": 0.1,
    "rtfP95": 0.2,
    "rtfP99": 0.3,
    "latencyMs": 52.0,
    "levelDbfs": -31.5,
    "frames": 1000,
    "xruns": 0,
    "drops": 0,
    "bypasses": 2,
    "temperatureC": None,
    "modelName": "enhancer-tcn",
    "modelVersion": "0.1.0",
    "modelSha256": SHA,
}


@pytest.fixture
def detection(monkeypatch: pytest.MonkeyPatch) -> Detection:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        return Detection.of_visit(
            "Blue_Jay",
            0.93,
            7,
            begin=BEGIN,
            end=BEGIN + 4.25,
            seconds=0.0125,
            source=SOURCE,
            model=MODEL,
            clip_name="visit.jpg",
        )
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_detection_reads_as_birdnet_go_writes_it(detection: Detection) -> None:
    payload = json.loads(detection.encode())
    assert 0 <= payload.pop("detectionId") < 2**53
    assert payload == DETECTION


def test_a_place_is_told_when_it_is_known(detection: Detection) -> None:
    placed = detection.model_copy(update={"latitude": 59.3, "longitude": 18.1})
    payload = json.loads(placed.encode())
    assert (payload["Latitude"], payload["Longitude"]) == (59.3, 18.1)


def test_every_detection_has_its_own_id(detection: Detection) -> None:
    made = [
        Detection.of_visit(
            "Mallard", 0.5, 3, begin=BEGIN, end=BEGIN, seconds=0, source=SOURCE, model=MODEL
        ).detection_id
        for _ in range(1000)
    ]
    assert len(set(made)) == 1000


@pytest.mark.parametrize(
    ("kind", "example"),
    [
        (Detection, {**DETECTION, "detectionId": 1}),
        (BirdEvent, {"event_type": "bird", "species": "Blue Jay", "confidence": 0.93}),
        (BirdsTelemetry, BIRDS_TELEMETRY),
        (SpeechTelemetry, SPEECH_TELEMETRY),
    ],
)
def test_payloads_round_trip(kind: type[Payload], example: dict[str, Any]) -> None:
    assert json.loads(kind.model_validate(example).encode()) == example


@pytest.mark.parametrize("topic", messages.PAYLOADS)
def test_schema_files_are_those_of_the_classes(topic: str) -> None:
    stored = json.loads((SCHEMAS / messages.schema_file(topic)).read_text(encoding="utf-8"))
    assert stored == messages.json_schema(topic), "run: python -m device schemas"


def test_there_is_no_schema_of_a_payload_that_is_gone() -> None:
    known = {messages.schema_file(topic) for topic in messages.PAYLOADS}
    assert {path.name for path in SCHEMAS.iterdir()} == known


def test_topics_stay() -> None:
    assert messages.STATUS == "status"
    assert messages.SNAPSHOT == "birds/snapshot"
    assert set(messages.PAYLOADS) == {
        "birds/detection",
        "birds/event",
        "birds/telemetry",
        "speech/telemetry",
    }
    assert messages.audio_topic("garden") == "hermes/audioServer/garden/audioFrame"


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1])
def test_a_confidence_is_a_share(detection: Detection, value: float) -> None:
    with pytest.raises(ValidationError):
        Detection.model_validate({**DETECTION, "detectionId": 1, "Confidence": value})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_telemetry_is_finite(value: float) -> None:
    with pytest.raises(ValidationError):
        SpeechTelemetry.model_validate({**SPEECH_TELEMETRY, "levelDbfs": value})


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError):
        Detection.model_validate({**DETECTION, "detectionId": 1, "Occurrence": 0.5})


def test_a_replayed_detection_says_so_and_nothing_else_changes(detection: Detection) -> None:
    before, after = json.loads(detection.encode()), json.loads(mark_replayed(detection.encode()))
    assert after == before | {"replayed": True}
    assert list(after) == list(before)


def test_payloads_without_the_field_are_replayed_as_they_are() -> None:
    event = BirdEvent(species="Blåmes", confidence=0.5).encode()
    assert mark_replayed(event) == event


def test_labels_become_names() -> None:
    assert species.species("Geococcyx") == ("Greater Roadrunner", "Geococcyx californianus")
    assert species.species("Anna_Hummingbird") == ("Anna's Hummingbird", "Calypte anna")
    assert species.species("Some_new_Bird") == ("Some new Bird", "")


def test_every_row_of_the_species_table_is_a_species() -> None:
    rows = species.TABLE.read_text(encoding="utf-8").splitlines()[1:]
    assert len({row.split(",")[0] for row in rows}) == len(rows)
    for row in rows:
        label, common, scientific = row.split(",")
        assert label
        assert common == common.strip() and "_" not in common and common[0].isupper()
        assert re.fullmatch(r"[A-Z][a-z]+ [a-z]+", scientific), row


def test_every_label_of_our_models_has_both_names() -> None:
    zoo = Path(__file__).parents[2] / "models" / "zoo"
    for path in zoo.glob("*/labels.txt"):
        for label in path.read_text(encoding="utf-8").splitlines():
            assert label == "background" or species.species(label)[1], f"{path}: {label}"


def test_every_species_of_the_default_data_has_both_names() -> None:
    labels = [*defaults.SPECIES, defaults.FILMED]
    assert [label for label in labels if not species.species(label)[1]] == []


def test_every_species_of_the_real_data_has_both_names(data_folder: Path) -> None:
    labels = [path.name for path in (data_folder / "birds" / "cub100" / "train").iterdir()]
    assert len(labels) == 100
    assert [label for label in labels if not species.species(label)[1]] == []
