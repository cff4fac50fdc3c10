"""A station in a garden, numbered detections, and what of them arrives."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from device.config import Config, Mqtt, Outbox
from device.messages import DETECTION, Detection, ModelId, Source, utc
from device.station import Station
from tests.subscriber import PATIENCE, Message

TOPIC = "fieldwren/garden/birds/detection"
BEGIN = 1.7e9
STATUS_TOPIC = "fieldwren/garden/status"
Make = Callable[..., Station]


def config(folder: Path, port: int, outbox: Outbox | None = None, **mqtt: object) -> Config:
    return Config(
        station="garden",
        state_dir=folder / "state",
        mqtt=Mqtt.model_validate({"port": port, **mqtt}),
        outbox=outbox or Outbox(),
    )


def detection(number: int) -> Detection:
    """A detection that can be told from others by its number of frames."""
    return Detection.of_visit(
        "Blue_Jay",
        0.9,
        number + 1,
        begin=BEGIN + number,
        end=BEGIN + number + 1,
        seconds=0.01,
        source=Source("feeder", "file", "feeder.mp4"),
        model=ModelId("birds", "0.1.0", "0" * 64),
    )


def post(station: Station, numbers: range) -> None:
    for number in numbers:
        station.post(station.topic(DETECTION), detection(number))


def arrived(messages: list[Message]) -> list[tuple[int, bool]]:
    """Number and `replayed` of each detection, repeats left out as a receiver would."""
    found: dict[int, tuple[int, bool]] = {}
    for message in messages:
        if message.topic == TOPIC:
            payload = json.loads(message.payload)
            assert payload["BeginTime"] == utc(BEGIN + payload["frames"] - 1)
            found.setdefault(payload["detectionId"], (payload["frames"] - 1, payload["replayed"]))
    return list(found.values())


def until(count: int) -> Callable[[list[Message]], bool]:
    return lambda messages: len(arrived(messages)) >= count


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)
