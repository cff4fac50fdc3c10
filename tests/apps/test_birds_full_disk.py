"""Detections that the disk refused are told of: in telemetry, and in the app's last line."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from apps.demo.broker import Broker
from device import config
from device.outbox import Outbox
from tests.scenes import RED, Feeder, write_video
from tests.subscriber import Subscriber

ROOT = Path(__file__).parents[2]
LIMIT = 90  # seconds; generous, nothing is this slow
TELEMETRY = "fieldwren/garden/birds/telemetry"
# SQLite's own words for a full disk, whatever room there is
FULL = """CREATE TRIGGER full BEFORE INSERT ON outbox
    BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"""


def test_what_the_disk_refused_is_told(tmp_path: Path, classifier: Path, broker: Broker) -> None:
    feeder = Feeder()
    pictures = [feeder.picture() for _ in range(15)]
    pictures += [feeder.picture((160, 100, RED)) for _ in range(25)]
    pictures += [feeder.picture() for _ in range(25)]
    film = write_video(tmp_path / "film.avi", iter(pictures))
    outbox = tmp_path / "state" / "outbox-birds.db"
    Outbox(outbox, config.Outbox()).close()
    database = sqlite3.connect(outbox)
    database.execute(FULL)
    database.close()
    settings = tmp_path / "fieldwren.toml"
    settings.write_text(
        f'station = "garden"\nstate_dir = "state"\n[mqtt]\nport = {broker.port}\n'
        f'[birds]\nsource = "{film}"\nbundle = "{classifier}"\npace = false\n'
    )
    with Subscriber(broker.port, TELEMETRY) as others:
        done = subprocess.run(
            [sys.executable, "-m", "apps.birds", "watch", "--config", str(settings)],
            cwd=ROOT,
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        told = json.loads(others.wait(bool)[-1].payload)
    assert (told["detections"], told["outboxLost"], told["outboxCorrupt"]) == (1, 1, 0)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: 1 detections could not be written to {outbox} (disk full")
