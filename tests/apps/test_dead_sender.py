"""An error that nobody expected ends what sends to the broker: the apps end too, and say so."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from apps.demo.broker import Broker
from apps.speech import publish
from device import bundle, camera, config, messages
from device.bird_reports import Counts, Reporter
from device.enhancer import StreamEnhancer
from device.errors import FieldwrenError
from device.playback import Playback
from device.speech_stage import SpeechStage
from device.station import Station
from tests.numbered import numbered
from tests.scenes import write_video
from tests.stations import config as settings_for
from tests.stations import detection, eventually

ENDED = r"^sending to broker 127\.0\.0\.1:\d+ ended: ValueError: .*wildcard"
Dead = tuple[config.Config, Station]


@pytest.fixture
def dead(broker: Broker, tmp_path: Path) -> Iterator[Dead]:
    """A connected station whose sender met a topic that paho refuses, past our check of it."""
    good = settings_for(tmp_path, broker.port)
    mqtt = good.mqtt.model_copy(update={"discovery_prefix": "homeassistant/#"})
    settings = good.model_copy(update={"mqtt": mqtt})
    station = Station(settings, "birds")
    station.check()
    station.start()

    def ended() -> bool:
        try:
            station.check()
        except FieldwrenError:
            return True
        return False

    eventually(ended, "the sender ends")
    yield settings, station
    station.stop()


def test_birds_end(dead: Dead, tmp_path: Path) -> None:
    settings, station = dead
    report = Reporter(
        settings,
        config.Visits(),
        messages.Source("garden", "file", "film.avi"),
        messages.ModelId("birds", "0.1.0", "0" * 64),
        station,
        Counts(),
    )
    film = write_video(tmp_path / "film.avi", [numbered(0)])
    with camera.connect(str(film)) as eye, pytest.raises(FieldwrenError, match=ENDED):
        report.telemetry(eye)


def test_speech_ends(dead: Dead, enhancer: Path, tmp_path: Path) -> None:
    _, station = dead
    soundfile.write(tmp_path / "in.wav", np.zeros(3200), 16_000)
    source = Playback(tmp_path / "in.wav")
    model = bundle.load(enhancer)
    stage = SpeechStage(source, StreamEnhancer(model), model.bundle, 0)
    with pytest.raises(FieldwrenError, match=ENDED):
        publish(stage, source, station, "hermes/x", 5.0, threading.Event())


def test_detections_still_wait_on_the_disk(dead: Dead) -> None:
    _, station = dead
    station.post(station.topic(messages.DETECTION), detection(1))
    assert len(station.outbox) == 1
