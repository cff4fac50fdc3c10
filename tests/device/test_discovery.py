"""What Home Assistant is told fits what the apps publish."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from device import discovery, messages
from device.config import Config

CONFIG = Config(station="garden")
BASE = "fieldwren/garden/"
# required keys by platform, from Home Assistant's MQTT schemas
REQUIRED = {
    "sensor": {"state_topic"},
    "event": {"state_topic", "event_types"},
    "image": {"image_topic", "content_type"},
}
APPS: tuple[messages.App, ...] = ("birds", "speech")


def announced(app: messages.App) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(discovery.announcement(CONFIG, app))
    return content


def components() -> Iterator[Any]:
    for app in APPS:
        for key, component in announced(app)["cmps"].items():
            yield pytest.param(component, id=f"{app}-{key}")


def test_topics() -> None:
    topic = discovery.config_topic(CONFIG, "birds")
    assert topic == "homeassistant/device/fieldwren_garden_birds/config"
    # Home Assistant's own pattern of an object id
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", topic)
    assert discovery.status_topic(CONFIG) == "homeassistant/status"


def test_both_apps_are_one_device() -> None:
    birds, speech = announced("birds"), announced("speech")
    assert birds["dev"] == speech["dev"]
    assert discovery.config_topic(CONFIG, "birds") != discovery.config_topic(CONFIG, "speech")
    assert birds["availability_topic"] == BASE + messages.STATUS == speech["availability_topic"]


def test_unique_ids_are_unique() -> None:
    ids = [c["unique_id"] for app in APPS for c in announced(app)["cmps"].values()]
    assert len(ids) == len(set(ids)) > 10
    assert all(name.startswith("fieldwren_garden_") for name in ids)


@pytest.mark.parametrize("component", list(components()))
def test_components_are_complete(component: dict[str, Any]) -> None:
    assert component.keys() >= {"p", "unique_id", "name"} | REQUIRED[component["p"]]
    if "state_class" in component:
        assert component["unit_of_measurement"]


@pytest.mark.parametrize("component", list(components()))
def test_templates_read_fields_that_are_published(component: dict[str, Any]) -> None:
    topic = component.get("state_topic", component.get("image_topic", ""))
    assert topic.startswith(BASE)
    name = topic.removeprefix(BASE)
    if "value_template" in component:
        fields = re.findall(r"value_json\.(\w+)", component["value_template"])
        assert fields
        assert set(fields) <= messages.json_schema(name)["properties"].keys()
    else:
        assert name in (messages.EVENT, messages.SNAPSHOT)


def test_the_event_entity_knows_our_events() -> None:
    event = messages.BirdEvent(species="Blue Jay", confidence=0.9)
    assert announced("birds")["cmps"]["bird"]["event_types"] == [event.event_type]
