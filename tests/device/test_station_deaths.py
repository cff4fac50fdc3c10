"""A station whose process is killed: what is lost, and what others are told."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.demo.broker import Broker
from device import station as module
from tests.stations import STATUS_TOPIC, TOPIC, Make, arrived, eventually, until
from tests.subscriber import PATIENCE, Subscriber, retained

ROOT = Path(__file__).parents[2]

CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.stations import config, detection
from device.messages import DETECTION
from device.station import Station

station = Station(config(Path(sys.argv[1]), int(sys.argv[2])), "birds")
station.start()
print("connected" if station.wait_connected(30) else "offline", flush=True)
for number in map(int, sys.stdin):
    station.post(station.topic(DETECTION), detection(number))
    print(number, flush=True)
"""


class Child:
    """Another process with a station, that posts what it is told and can be killed."""

    def __init__(self, folder: Path, port: int) -> None:
        command = [sys.executable, "-c", CHILD, str(folder), str(port), str(ROOT)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=ROOT
        )
        self.first = self.line()

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def post(self, numbers: range) -> None:
        assert self.process.stdin
        for number in numbers:
            self.process.stdin.write(f"{number}\n")
            assert self.line() == str(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def child(broker: Broker, tmp_path: Path) -> Iterator[Child]:
    """A birds app's station in a process of its own, connected."""
    child = Child(tmp_path, broker.port)
    try:
        assert child.first == "connected"
        yield child
    finally:
        child.kill()


def test_nothing_is_lost_when_the_process_dies(broker: Broker, make: Make, child: Child) -> None:
    with Subscriber(broker.port, TOPIC) as subscriber:
        child.post(range(20))
        subscriber.wait(until(20))
        os.kill(broker.pid, signal.SIGSTOP)
        child.post(range(20, 60))
        child.kill()
        os.kill(broker.pid, signal.SIGCONT)
        station = make(broker.port)
        station.start()
        assert station.flush(PATIENCE) == 0
        messages = subscriber.wait(until(60))
    found = arrived(messages)
    assert [number for number, _ in found] == list(range(60))
    assert all(replayed for number, replayed in found if number >= 20 + module.IN_FLIGHT)
    assert not any(replayed for number, replayed in found if number < 20)


def test_a_dead_process_is_seen_as_offline(broker: Broker, child: Child) -> None:
    with Subscriber(broker.port, STATUS_TOPIC) as subscriber:
        subscriber.wait(lambda messages: any(m.payload == b"online" for m in messages))
        child.kill()
        subscriber.wait(lambda messages: messages[-1].payload == b"offline")
    assert retained(broker.port, STATUS_TOPIC) == b"offline"


def test_a_living_sibling_keeps_the_station_online(
    broker: Broker, make: Make, child: Child
) -> None:
    sibling = make(broker.port, "speech")
    sibling.start()
    eventually(lambda: sibling.counters.sent == 2, "the sibling has announced itself")
    with Subscriber(broker.port, STATUS_TOPIC) as subscriber:
        child.kill()
        subscriber.wait(
            lambda messages: [m.payload for m in messages[-2:]] == [b"offline", b"online"]
        )
        assert retained(broker.port, STATUS_TOPIC) == b"online"
        sibling.stop()
        subscriber.wait(lambda messages: messages[-1].payload == b"offline")
    assert retained(broker.port, STATUS_TOPIC) == b"offline"
