"""A network that takes less than we have to say: what is late, what is dropped, what arrives.

Time is counted in what the link lets through: RATE bytes are a second, however long they take.
"""

from collections.abc import Iterator

import pytest

from apps.demo.broker import Broker
from device.station import Station
from tests.slow_link import SlowLink
from tests.stations import TOPIC, Make, arrived, eventually, post
from tests.subscriber import PATIENCE, Subscriber, retained

AUDIO = "hermes/x"
FRAMES = 50  # of audio, in a second
FRAME = 684  # bytes: 20 ms as a WAV file
RATE = 20_000  # bytes a second of the link; the stream needs 35,000
LATE = 6  # seconds: what may wait in the station, the kernel and the link itself is 90 kB at most
LASTS = 60  # seconds of sound; with a buffer of megabytes it would be late by half of them


@pytest.fixture
def slow(broker: Broker) -> Iterator[SlowLink]:
    with SlowLink(broker.port) as link:
        yield link


def talk(station: Station, slow: SlowLink, seconds: range) -> None:
    """Sound in its own time: FRAMES numbered ones, while the link takes RATE bytes."""
    for second in seconds:
        for number in range(second * FRAMES, (second + 1) * FRAMES):
            station.send(AUDIO, b"%06d" % number + bytes(FRAME - 6))
        slow.allow(RATE)


def test_audio_is_dropped_not_late(broker: Broker, slow: SlowLink, make: Make) -> None:
    station = make(slow.port)
    with Subscriber(broker.port, AUDIO, TOPIC) as subscriber:
        station.start()
        eventually(lambda: station.counters.sent == 2, "the station has announced itself")
        slow.throttle()
        talk(station, slow, range(LASTS))
        passed = LASTS * RATE // (FRAME + 32) - 1  # with topic and headers, whole ones
        messages = subscriber.wait(lambda all_: len(all_) >= passed)
        last = int(messages[-1].payload[:6]) // FRAMES
        assert LASTS - last <= LATE
        assert station.counters.dropped > 0

        sent = station.counters.sent
        post(station, range(1))  # goes at once, behind the little that waits
        eventually(lambda: station.counters.sent == sent + 1, "the detection is under way")
        talk(station, slow, range(LASTS, LASTS + LATE))
        assert arrived(subscriber.wait(lambda all_: bool(arrived(all_)))) == [(0, False)]
        assert station.connected and station.counters.reconnects == 0
        slow.release()  # so that the station can say goodbye


def test_a_retained_state_passes_by_what_waits(broker: Broker, slow: SlowLink, make: Make) -> None:
    status, home = "fieldwren/garden/status", "homeassistant/status"
    config = "homeassistant/device/fieldwren_garden_birds/config"
    station = make(slow.port)
    with Subscriber(broker.port, status, config) as subscriber:
        station.start()
        post(station, range(1))
        assert station.flush(PATIENCE) == 0  # what was sent before it has arrived, too
        # more than the kernel and the link hold, so that nothing of it is ever written completely
        slow.throttle()
        while station.send(AUDIO, bytes(200_000)):
            pass
        assert station.send(f"{status}/other", b"x", qos=1, retain=True), "room of its own"
        before = station.counters
        subscriber.client.publish(home, b"online")
        eventually(lambda: station.counters != before, "the station answers Home Assistant")
        assert station.counters.dropped == before.dropped
        slow.release()
        subscriber.wait(lambda all_: [m.topic for m in all_].count(config) == 2)
        assert subscriber.on(status) == [b"online", b"online"]
    assert retained(broker.port, status) == b"online"
