"""Home Assistant's device discovery: one retained message per app makes its entities appear.

Each app publishes a configuration of its own (…/device/fieldwren_<station>_<app>/config) with the
same device identifier, and Home Assistant joins them into one device. One shared topic would not
do: the app that publishes last would replace the other's components, and to remove one app's
entities is to empty that app's topic.
"""

import json
from typing import Any

from device.config import Config
from device.messages import (
    BIRDS_TELEMETRY,
    DETECTION,
    EVENT,
    SNAPSHOT,
    SPEECH_TELEMETRY,
    STATUS,
    App,
)

STALE_AFTER = 300  # seconds without telemetry until its values show as unavailable
Component = dict[str, Any]


def config_topic(config: Config, app: App) -> str:
    """Where the app's entities are announced."""
    return f"{config.mqtt.discovery_prefix}/device/{_device(config)}_{app}/config"


def status_topic(config: Config) -> str:
    """Where Home Assistant says `online` when it has started."""
    return f"{config.mqtt.discovery_prefix}/status"


def announcement(config: Config, app: App) -> bytes:
    """The retained configuration of one app's entities."""
    base = f"{config.mqtt.base_topic}/{config.station}"
    components = _birds(base) if app == "birds" else _speech(base)
    device = _device(config)
    return json.dumps(
        {
            "dev": {
                "ids": [device],
                "name": f"Fieldwren {config.station}",
                "mf": "Fieldwren",
                "mdl": "Bird and speech station",
            },
            "o": {"name": "Fieldwren"},
            "availability_topic": f"{base}/{STATUS}",
            "qos": 1,
            "cmps": {
                key: {"unique_id": f"{device}_{key}", **component}
                for key, component in components.items()
            },
        },
        ensure_ascii=False,
    ).encode()


def _device(config: Config) -> str:
    return f"fieldwren_{config.station}"


def _birds(base: str) -> dict[str, Component]:
    detection, telemetry = f"{base}/{DETECTION}", f"{base}/{BIRDS_TELEMETRY}"
    return {
        "species": _sensor("Last species", detection, "{{ value_json.CommonName }}")
        | {"json_attributes_topic": detection, "icon": "mdi:bird"},
        "confidence": _sensor(
            "Confidence", detection, "{{ (value_json.Confidence * 100) | round(1) }}", "%"
        ),
        "bird": {
            "p": "event",
            "name": "Bird",
            "event_types": ["bird"],
            "state_topic": f"{base}/{EVENT}",
            "icon": "mdi:bird",
        },
        "snapshot": {
            "p": "image",
            "name": "Last bird",
            "image_topic": f"{base}/{SNAPSHOT}",
            "content_type": "image/jpeg",
        },
        "camera": _diagnostic("Camera", telemetry, "{{ value_json.source }}"),
        "fps": _diagnostic(
            "Frames per second", telemetry, "{{ value_json.fps | round(1) }}", "fps"
        ),
        "pending": _diagnostic(
            "Detections waiting", telemetry, "{{ value_json.outboxPending }}", "messages"
        ),
        "lost": _diagnostic(
            "Detections lost",
            telemetry,
            "{{ value_json.outboxDropped + value_json.outboxLost }}",
            "messages",
        ),
    }


def _speech(base: str) -> dict[str, Component]:
    telemetry = f"{base}/{SPEECH_TELEMETRY}"
    return {
        "level": _sensor("Level", telemetry, "{{ value_json.levelDbfs | round(1) }}", "dBFS")
        | {"expire_after": STALE_AFTER},
        "rtf": _diagnostic("RTF p95", telemetry, "{{ value_json.rtfP95 | round(3) }}", "RTF"),
        "latency": _diagnostic("Latency", telemetry, "{{ value_json.latencyMs | round(1) }}", "ms"),
        "xruns": _diagnostic("Xruns", telemetry, "{{ value_json.xruns }}", "xruns"),
        "bypasses": _diagnostic("Bypasses", telemetry, "{{ value_json.bypasses }}", "hops"),
        "temperature": _diagnostic("Temperature", telemetry, "{{ value_json.temperatureC }}", "°C")
        | {"device_class": "temperature"},
    }


def _sensor(name: str, topic: str, template: str, unit: str | None = None) -> Component:
    sensor = {"p": "sensor", "name": name, "state_topic": topic, "value_template": template}
    if unit is not None:  # with a unit it is a number, and Home Assistant draws its history
        sensor |= {"unit_of_measurement": unit, "state_class": "measurement"}
    return sensor


def _diagnostic(name: str, topic: str, template: str, unit: str | None = None) -> Component:
    extra = {"entity_category": "diagnostic", "expire_after": STALE_AFTER}
    return _sensor(name, topic, template, unit) | extra
