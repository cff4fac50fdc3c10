"""A station at a real broker that is killed, frozen, refuses, and comes back."""

import json
import logging
import os
import signal
from pathlib import Path

import pytest

from apps.demo.broker import USER, Broker
from device import station as module
from device.config import Outbox
from device.errors import BadInputError
from device.messages import STATUS
from tests.stations import STATUS_TOPIC, TOPIC, Make, arrived, eventually, post, until
from tests.subscriber import PATIENCE, Subscriber, retained


def test_detections_arrive_live_and_in_order(broker: Broker, make: Make) -> None:
    station = make(broker.port)
    with Subscriber(broker.port, TOPIC) as subscriber:
        station.start()
        assert station.wait_connected(PATIENCE)
        post(station, range(100))
        assert station.flush(PATIENCE) == 0
        messages = subscriber.wait(until(100))
    assert arrived(messages) == [(number, False) for number in range(100)]
    assert station.counters.acknowledged == 100
    assert station.counters.refused == station.counters.dropped == 0


def test_nothing_is_lost_when_the_broker_dies(broker: Broker, make: Make) -> None:
    station = make(broker.port)
    with Subscriber(broker.port, TOPIC) as subscriber:
        station.start()
        assert station.wait_connected(PATIENCE)
        post(station, range(30))
        assert station.flush(PATIENCE) == 0
        subscriber.wait(until(30))
        os.kill(broker.pid, signal.SIGSTOP)  # takes what is sent, answers nothing
        post(station, range(30, 70))
        eventually(lambda: station.counters.sent > 32, "messages in flight")
        broker.kill()
        eventually(lambda: not station.connected, "the station notices")
        post(station, range(70, 90))
        assert station.flush(0) == 60
        broker.start()
        assert station.flush(PATIENCE) == 0
        messages = subscriber.wait(until(90))
    assert arrived(messages) == [(number, number >= 30) for number in range(90)]
    sent = [json.loads(m.payload)["frames"] - 1 for m in messages]
    assert [number for number in sent if number >= 30] == list(range(30, 90)), "none twice"
    assert station.counters.acknowledged == 90
    assert station.counters.reconnects == 1


@pytest.mark.parametrize("mqtt", [{"username": USER, "password": "Hammer"}, {}])
def test_wrong_credentials_are_bad_input(
    tmp_path: Path, make: Make, caplog: pytest.LogCaptureFixture, mqtt: dict[str, str]
) -> None:
    with Broker(tmp_path / "broker", password="Sichel") as broker:
        station = make(broker.port, **mqtt)
        with pytest.raises(BadInputError, match="refuses the credentials") as caught:
            station.start()
    assert "Hammer" not in str(caught.value) + caplog.text


def test_right_credentials_are_accepted(tmp_path: Path, make: Make) -> None:
    (tmp_path / "secret").write_text("Sichel\n")
    with Broker(tmp_path / "broker", password="Sichel") as broker:
        station = make(broker.port, username=USER, password_file=tmp_path / "secret")
        station.start()
        assert station.wait_connected(PATIENCE)


def test_a_broker_that_comes_later_gets_everything(
    broker: Broker, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with Subscriber(broker.port, TOPIC) as subscriber:
        broker.stop()  # it remembers the subscription
        station = make(broker.port)
        station.start()
        assert not station.connected
        post(station, range(5))
        broker.start()
        assert station.wait_connected(PATIENCE)
        messages = subscriber.wait(until(5))
    assert arrived(messages) == [(number, True) for number in range(5)]
    assert [r.message for r in caplog.records if r.levelno == logging.WARNING] == [
        f"broker 127.0.0.1:{broker.port} cannot be reached: "
        "[Errno 111] Connection refused; trying again"
    ]


def test_a_full_outbox_drops_the_oldest_and_counts(broker: Broker, make: Make) -> None:
    station = make(broker.port, outbox=Outbox(max_rows=5))
    post(station, range(8))
    assert station.outbox.counters.dropped == 3
    with Subscriber(broker.port, TOPIC) as subscriber:
        station.start()
        messages = subscriber.wait(until(5))
    assert arrived(messages) == [(number, True) for number in range(3, 8)]


ACL = "user fieldwren\ntopic readwrite {allowed}\ntopic read fieldwren/#\n"


def test_what_the_broker_forbids_is_counted_kept_and_offered_again(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "REFUSED_RETRY", 0.5)
    acl = ACL.format(allowed="+/+/status")
    login = {"username": USER, "password": "pw", "discovery_prefix": ""}
    with (
        Broker(tmp_path / "broker", password="pw", acl=acl) as broker,
        Subscriber(broker.port, TOPIC, user=USER, password="pw") as subscriber,
    ):
        station = make(broker.port, **login)
        station.start()
        assert station.wait_connected(PATIENCE)
        post(station, range(3))
        eventually(lambda: station.counters.refused >= 3, "three refusals")
        assert station.counters.acknowledged == 0
        assert len(station.outbox) == 3
        assert f"refused {TOPIC}" in caplog.text
        (broker.folder / "acl").write_text(ACL.format(allowed="fieldwren/#"))
        os.kill(broker.pid, signal.SIGHUP)
        assert station.flush(PATIENCE) == 0
        messages = subscriber.wait(until(3))
    assert sorted(arrived(messages)) == [(number, True) for number in range(3)]


def test_volatile_messages_are_sent_now_or_never(broker: Broker, make: Make) -> None:
    station = make(broker.port)
    assert not station.send("hermes/x", b"early")
    assert station.counters.dropped == 1
    with Subscriber(broker.port, "hermes/#") as subscriber:
        station.start()
        assert station.wait_connected(PATIENCE)
        assert station.send("hermes/x", b"now")
        assert station.send("hermes/y", b"kept", qos=1, retain=True)
        messages = subscriber.wait(lambda all_: len(all_) >= 2)
    assert [m.payload for m in messages] == [b"now", b"kept"]
    assert retained(broker.port, "hermes/y") == b"kept"


@pytest.mark.parametrize("qos", [0, 1])
def test_a_network_that_takes_nothing_fills_no_memory(broker: Broker, make: Make, qos: int) -> None:
    station = make(broker.port)
    station.start()
    eventually(lambda: station.counters.sent == 2, "the station has announced itself")
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        frame = bytes(100_000)
        taken = 0
        while station.send("hermes/x", frame, qos=qos):
            taken += 1
            assert taken < 2000, "no end of what is queued"
        assert station.counters.dropped == 1
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    eventually(lambda: station.send("hermes/x", b"again"), "the network takes messages again")


def test_home_assistant_is_told_again_when_it_starts(broker: Broker, make: Make) -> None:
    topic = "homeassistant/device/fieldwren_garden_birds/config"
    station = make(broker.port)
    with Subscriber(broker.port, topic, STATUS_TOPIC) as subscriber:
        station.start()
        subscriber.wait(lambda messages: {m.topic for m in messages} == {topic, STATUS_TOPIC})
        announced = json.loads(subscriber.on(topic)[0])
        assert announced["dev"]["ids"] == ["fieldwren_garden"]

        def told_again() -> bool:  # asked until the station has subscribed
            subscriber.client.publish("homeassistant/status", b"online")
            return len(subscriber.on(topic)) > 1 and len(subscriber.on(STATUS_TOPIC)) > 1

        eventually(told_again, "the station announces itself again")
    assert json.loads(retained(broker.port, topic) or b"") == announced


def test_without_a_prefix_home_assistant_is_left_alone(broker: Broker, make: Make) -> None:
    station = make(broker.port, discovery_prefix="")
    with Subscriber(broker.port, "#") as subscriber:
        station.start()
        assert station.wait_connected(PATIENCE)
        post(station, range(1))
        messages = subscriber.wait(until(1))
    assert {m.topic for m in messages} == {TOPIC, station.topic(STATUS)}


def test_messages_are_sent_live_when_the_disk_is_gone(broker: Broker, make: Make) -> None:
    station = make(broker.port)
    with Subscriber(broker.port, TOPIC) as subscriber:
        station.start()
        assert station.wait_connected(PATIENCE)
        station.outbox.close()  # every access fails from here on
        post(station, range(2))
        messages = subscriber.wait(until(2))
    assert arrived(messages) == [(0, False), (1, False)]
    assert station.outbox.counters.lost == 2
