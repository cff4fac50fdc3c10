"""The whole app as its users run it: a process, a real broker, an independent subscriber."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from apps.demo.broker import Broker
from device.images import Image
from tests import bundles
from tests.http_camera import Server
from tests.scenes import BLUE, GREEN, RED, Feeder, write_video
from tests.subscriber import Subscriber, retained

ROOT = Path(__file__).parents[2]
LIMIT = 90  # seconds; generous, nothing is this slow


def birds(*arguments: str | Path, **options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "apps.birds", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | options,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit 2, nothing on stdout, one line on stderr that names the trouble."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(errors) == 1 and "Traceback" not in done.stderr
    for word in words:
        assert word in errors[0]


def visit_film() -> Iterator[Image]:
    """Empty; a red bird lands, sits and leaves; empty; a cloud; a green and a blue one; empty."""
    feeder = Feeder()
    for _ in range(15):
        yield feeder.picture()
    for x in (*range(20, 160, 20), *[160] * 15, *range(160, 320, 40)):
        yield feeder.picture((x, 100, RED))
    for _ in range(25):
        yield feeder.picture()
    for _ in range(15):
        yield feeder.picture(light=0.7)
    for _ in range(25):
        yield feeder.picture((80, 80, GREEN), (240, 150, BLUE))
    for _ in range(25):
        yield feeder.picture()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.avi", visit_film())


def configure(
    folder: Path, bundle: Path, source: str | Path, port: int, extra: str = "", pace: bool = False
) -> Path:
    path = folder / "fieldwren.toml"
    path.write_text(
        f'station = "garden"\nstate_dir = "state"\n'
        f"[mqtt]\nport = {port}\n"
        f'[birds]\nsource = "{source}"\nbundle = "{bundle}"\npace = {str(pace).lower()}\n{extra}'
    )
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


# --- watch ---


def test_recording_becomes_detections_events_and_snapshots(
    tmp_path: Path, classifier: Path, film: Path, broker: Broker
) -> None:
    config = configure(tmp_path, classifier, film, broker.port)
    with Subscriber(broker.port, "fieldwren/#") as others:
        done = birds("watch", "--config", config)
        messages = others.wait(
            lambda all_: (
                sum(m.topic.endswith("/birds/telemetry") for m in all_) >= 1
                and any(m.payload == b"offline" for m in all_)
            )
        )
    assert done.returncode == 0, done.stderr
    topic = "fieldwren/garden/birds"
    detections = [json.loads(payload) for payload in others.on(f"{topic}/detection")]
    assert [d["CommonName"] for d in detections[:1]] == ["red"]
    assert sorted(d["CommonName"] for d in detections) == ["blue", "green", "red"]
    for detection in detections:
        assert detection["Confidence"] > 0.9
        assert detection["frames"] >= 20
        assert detection["replayed"] is False
        assert detection["sourceType"] == "file"
        assert re.fullmatch(r"[0-9a-f]{64}", detection["modelSha256"])
        stored = tmp_path / "state" / "snapshots" / detection["ClipName"]
        assert cv2.imread(str(stored)) is not None
    events = [json.loads(payload) for payload in others.on(f"{topic}/event")]
    assert [event["species"] for event in events] == [d["CommonName"] for d in detections]
    assert {event["event_type"] for event in events} == {"bird"}
    telemetry = json.loads(others.on(f"{topic}/telemetry")[-1])
    assert (telemetry["visits"], telemetry["detections"], telemetry["abstained"]) == (3, 3, 0)
    assert telemetry["framesSeen"] == len(list(visit_film()))
    assert telemetry["source"] == "ended" and telemetry["outboxPending"] == 0
    assert {m.retained for m in messages} == {False}
    assert len(re.findall(r"^INFO birds: \d\d:\d\d:\d\d (red|green|blue) ", done.stderr, re.M)) == 3

    snapshot = retained(broker.port, f"{topic}/snapshot")
    assert snapshot is not None
    picture = cv2.imdecode(np.frombuffer(snapshot, np.uint8), cv2.IMREAD_COLOR)
    centre = picture[picture.shape[0] // 2, picture.shape[1] // 2]
    assert int(centre.argmax()) in (0, 1) and centre.max() > 200  # the blue or the green bird
    assert retained(broker.port, f"{topic}/detection") is None

    listed = birds("history", "--config", config, "--json", "--limit", "2")
    assert [json.loads(line) for line in listed.stdout.splitlines()] == detections[:0:-1]
    table = birds("history", "--config", config).stdout
    assert len(table.splitlines()) == 3 and "red" in table


def test_empty_feeder_says_nothing(tmp_path: Path, classifier: Path, broker: Broker) -> None:
    feeder = Feeder()
    empty = write_video(tmp_path / "empty.avi", (feeder.picture() for _ in range(60)))
    config = configure(tmp_path, classifier, empty.name, broker.port)  # beside the configuration
    with Subscriber(broker.port, "fieldwren/#") as others:
        done = birds("watch", "--config", config)
        others.wait(lambda all_: any(m.payload == b"offline" for m in all_))

    assert done.returncode == 0, done.stderr
    assert not [m for m in others.messages if "detection" in m.topic or "snapshot" in m.topic]
    assert not (tmp_path / "state" / "snapshots").exists()


def test_without_a_broker_detections_wait_and_go_out_later(
    tmp_path: Path, classifier: Path, film: Path, broker: Broker
) -> None:
    cap = "[birds.visits]\nsnapshot_bytes = 4000\n"
    config = configure(tmp_path, classifier, film, free_port(), cap)

    alone = birds("watch", "--config", config)

    assert alone.returncode == 1
    last = alone.stderr.splitlines()[-1]
    assert last.startswith("error: broker 127.0.0.1:") and "3 detections" in last
    assert "state/outbox-birds.db" in last
    snapshots = list((tmp_path / "state" / "snapshots").iterdir())
    assert 0 < sum(path.stat().st_size for path in snapshots) <= 4000
    assert len(birds("history", "--config", config).stdout.splitlines()) == 3

    feeder = Feeder()
    empty = write_video(tmp_path / "empty.avi", (feeder.picture() for _ in range(5)))
    configure(tmp_path, classifier, film, broker.port)
    with Subscriber(broker.port, "fieldwren/garden/birds/detection") as others:
        later = birds("watch", "--config", config, "--source", empty)
        received = others.wait(lambda all_: len(all_) >= 3)
    assert later.returncode == 0, later.stderr
    detections = [json.loads(message.payload) for message in received]
    assert sorted(d["CommonName"] for d in detections) == ["blue", "green", "red"]
    assert all(d["replayed"] for d in detections)


@contextlib.contextmanager
def running(config: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "apps.birds", "watch", "--config", str(config)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_stopped_app_reports_the_bird_in_view(
    tmp_path: Path, classifier: Path, broker: Broker
) -> None:
    """A live camera; a bird that is still there when the service is stopped is not lost."""
    feeder = Feeder()
    server = Server(lambda k: feeder.picture(*[(160, 120, RED)] * (k > 100)))
    config = configure(tmp_path, classifier, server.url, broker.port)
    topic = "fieldwren/garden/birds"
    with Subscriber(broker.port, "fieldwren/#") as others, running(config) as process:
        others.wait(
            lambda all_: any(
                m.topic == f"{topic}/telemetry" and json.loads(m.payload)["classified"] > 5
                for m in all_
            )
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0
        others.wait(lambda all_: any(m.payload == b"offline" for m in all_))
    server.close()

    (detection,) = map(json.loads, others.on(f"{topic}/detection"))
    assert (detection["CommonName"], detection["sourceType"]) == ("red", "http")
    assert "secret" not in detection["sourceName"]
    assert json.loads(others.on(f"{topic}/telemetry")[0])["source"] == "live"


def test_interrupted_recording_ends_well(
    tmp_path: Path, classifier: Path, film: Path, broker: Broker
) -> None:
    config = configure(tmp_path, classifier, film, broker.port, pace=True)
    with Subscriber(broker.port, "fieldwren/#") as others, running(config) as process:
        others.wait(lambda all_: any(m.payload == b"online" for m in all_))
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 0
        others.wait(lambda all_: any(m.payload == b"offline" for m in all_))


class Fragile(nn.Module):
    """Names red, green and blue; NaN, the root of a negative number, for yellow."""

    def forward(self, image: Tensor) -> Tensor:
        mean = image.mean((1, 2))
        root = torch.sqrt(1.25 - mean[:, :1] - mean[:, 1:2])
        return 20 * torch.cat((mean, 0.001 * root), -1)


def test_nan_at_run_time_is_counted_and_survived(tmp_path: Path, broker: Broker) -> None:
    """A yellow bird: no detection, no crash, said once. The red one after it is named."""
    model = bundles.make_classifier(tmp_path / "fragile", net=Fragile())
    feeder, yellow = Feeder(), (0, 255, 255)
    birds_in = [()] * 15 + [((80, 80, yellow),)] * 20 + [()] * 25 + [((240, 150, RED),)] * 20
    film = write_video(tmp_path / "film.avi", (feeder.picture(*those) for those in birds_in))
    config = configure(tmp_path, model, film, broker.port)
    with Subscriber(broker.port, "fieldwren/#") as others:
        done = birds("watch", "--config", config)
        others.wait(lambda all_: any(m.payload == b"offline" for m in all_))

    assert done.returncode == 0, done.stderr
    (detection,) = others.on("fieldwren/garden/birds/detection")
    assert json.loads(detection)["CommonName"] == "red"
    assert done.stderr.count("not finite") == 1
    assert re.search(r" 20 failed, 1 visits", done.stderr)


def test_bad_settings_are_refused_before_anything_starts(
    tmp_path: Path, classifier: Path, film: Path
) -> None:
    port = free_port()
    config = configure(tmp_path, classifier, film, port)

    refused(birds("watch", "--config", tmp_path / "nowhere.toml"), "nowhere.toml")
    refused(birds("watch", "--config", config, "--source", "nowhere.mp4"), "nowhere.mp4")
    configure(tmp_path, classifier, film, port, "typo = 1\n")
    refused(birds("watch", "--config", config), "birds.typo", "unknown key")
    config.write_text('station = "garden"\n')
    refused(birds("watch", "--config", config), "birds")
    assert not (tmp_path / "state").exists()


def test_changed_bundle_is_refused(tmp_path: Path, classifier: Path, film: Path) -> None:
    with (classifier / "model.tflite").open("ab") as model:
        model.write(b"\0")

    done = birds("watch", "--config", configure(tmp_path, classifier, film, free_port()))

    refused(done, "model.tflite", "hash")
