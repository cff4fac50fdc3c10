"""An error that nobody expected ends paho's network thread: the station says so."""

from pathlib import Path

from device import mqtt
from device.config import Mqtt
from device.errors import FieldwrenError
from device.messages import DETECTION
from device.station import Station
from tests.stations import config, detection, eventually

# past our check of it; the resolver's complaint about it is no OSError
NO_HOST = {"host": "mqtt..local"}


def test_the_station_ends_and_keeps_what_waits(tmp_path: Path) -> None:
    good = config(tmp_path, 1883)
    settings = good.model_copy(update={"mqtt": good.mqtt.model_copy(update=NO_HOST)})
    station = Station(settings, "birds")
    station.check()
    station.start()

    def ended() -> bool:
        try:
            station.check()
        except FieldwrenError as error:
            return "sending to broker mqtt..local:1883 ended: UnicodeError: " in str(error)
        return False

    try:
        eventually(ended, "the station says that nothing is sent")
        assert not station.connected
        assert not station.send("hermes/x", b"sound")
        station.post(station.topic(DETECTION), detection(1))
        assert len(station.outbox) == 1
    finally:
        station.stop()


def test_a_probe_says_so_at_once() -> None:
    failure = mqtt.probe(Mqtt().model_copy(update=NO_HOST), 3)
    assert failure is not None and "idna" in failure.message
