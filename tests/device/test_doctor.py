"""The doctor sees what is wrong and says what to do."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from apps.demo.broker import Broker
from device import machine_checks, signing
from device.__main__ import cli
from device.config import Config, Outbox
from device.findings import Status
from tests.full_disk import room

STATION = """
station = "garden"
state_dir = "state"
[mqtt]
port = {port}
[birds]
source = "feeder"
bundle = "{classifier}"
[speech]
device = "speech.wav"
bundle = "{enhancer}"
"""
CHECKS = (
    *("configuration", "birds bundle", "camera", "speech bundle", "microphone"),
    *("broker", "disk", "runtime", "clock", "memory", "processor"),
)
# root, too, may then read only what its permissions say
FREE = "-dac_override,-dac_read_search"
ORDINARY = ("setpriv", "--bounding-set", FREE) if os.geteuid() == 0 else ()
Change = Callable[[Path], None]


@pytest.fixture
def station(tmp_path: Path, classifier: Path, enhancer: Path, broker: Broker) -> Path:
    """A configuration where everything is as it should be."""
    (tmp_path / "feeder").mkdir()
    picture = np.full((48, 64, 3), 128, np.uint8)
    for number in range(3):
        cv2.imwrite(str(tmp_path / "feeder" / f"{number}.jpg"), picture)
    soundfile.write(tmp_path / "speech.wav", np.zeros((1600, 2)), 16_000)
    path = tmp_path / "fieldwren.toml"
    path.write_text(
        STATION.format(port=broker.port, classifier=classifier.name, enhancer=enhancer.name)
    )
    return path


def examine(*words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code and findings by check."""
    result = CliRunner().invoke(cli, ["doctor", "--json", *words])
    return result.exit_code, {f["check"]: f for f in json.loads(result.stdout)}


def test_a_healthy_station(station: Path) -> None:
    code, found = examine("--config", str(station))
    assert code == 0, found
    statuses = {check: finding["status"] for check, finding in found.items()}
    for check in (
        "configuration",
        "birds bundle",
        "camera",
        "speech bundle",
        "microphone",
        "broker",
        "runtime",
    ):
        assert statuses[check] == "ok", found[check]
    assert {"disk", "clock", "memory", "processor"} <= statuses.keys()
    assert "64×48" in found["camera"]["found"]
    assert "2 channels, 16000 Hz" in found["microphone"]["found"]
    assert not (station.parent / "state").exists(), "looking changes nothing"


def test_people_get_a_table(station: Path) -> None:
    result = CliRunner().invoke(cli, ["doctor", "--config", str(station)])
    assert result.exit_code == 0
    assert "ok    broker" in result.stdout


def test_the_machine_alone() -> None:
    code, found = examine()
    assert code == 0
    assert found.keys() == {"runtime", "clock", "memory", "processor"}


@pytest.mark.parametrize("text", ["", 'station = "garden"\nhots = 1'])
def test_a_bad_configuration_is_exit_2(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    code, found = examine("--config", str(path))
    assert code == 2
    assert found["configuration"]["status"] == "fail"
    assert "bad.toml" in found["configuration"]["found"]


def test_an_empty_station_is_a_warning(tmp_path: Path, broker: Broker) -> None:
    path = tmp_path / "empty.toml"
    path.write_text(f'station = "garden"\n[mqtt]\nport = {broker.port}')
    code, found = examine("--config", str(path))
    assert (code, found["configuration"]["status"]) == (0, "warn")


def replace(old: str, new: str) -> Change:
    def change(station: Path) -> None:
        text = station.read_text()
        assert old in text
        station.write_text(text.replace(old, new))

    return change


def corrupt(name: str) -> Change:
    return lambda station: (station.parent / name).write_bytes(b"damaged") and None


@pytest.mark.parametrize(
    ("change", "check", "reason"),
    [
        (corrupt("colours/model.tflite"), "birds bundle", "differs from its hash"),
        (replace('"colours"', '"identity"'), "birds bundle", "made to enhance"),
        (replace('"identity"', '"nowhere"'), "speech bundle", "no such bundle folder"),
        (replace('"feeder"', '"nowhere.mp4"'), "camera", "no such video file"),
        (replace('"feeder"', '"speech.wav"'), "camera", "no video"),
        (corrupt("speech.wav"), "microphone", "not a sound file"),
        (replace("speech.wav", "no such microphone"), "microphone", "speech.device"),
        (replace("port = ", "port = 1 #"), "broker", "Connection refused"),
        (replace("[mqtt]", '[mqtt]\nca_file = "none"'), "broker", "mqtt.ca_file"),
    ],
)
def test_one_thing_wrong(station: Path, change: Change, check: str, reason: str) -> None:
    change(station)
    code, found = examine("--config", str(station))
    assert code == 1
    assert [name for name, finding in found.items() if finding["status"] == "fail"] == [check]
    assert reason in found[check]["found"]
    assert found[check]["advice"]


@pytest.mark.parametrize(
    ("closed", "check"),
    [
        ("colours/model.tflite", "birds bundle"),
        ("colours", "birds bundle"),
        ("identity/golden.npz", "speech bundle"),
        ("feeder", "camera"),
        ("speech.wav", "microphone"),
        ("closed", "disk"),
    ],
)
def test_what_this_user_may_not_see_hides_nothing_else(
    station: Path, closed: str, check: str
) -> None:
    (station.parent / "closed").mkdir()
    replace('"state"', '"closed/state"')(station)
    (station.parent / closed).chmod(0)
    try:
        done = subprocess.run(
            [*ORDINARY, sys.executable, "-m", "device", "doctor", "--config", station, "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        (station.parent / closed).chmod(0o700)
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert (done.returncode, tuple(found)) == (1, CHECKS), done.stderr
    assert [name for name, finding in found.items() if finding["status"] == "fail"] == [check]
    assert str(station.parent / closed) in found[check]["found"]
    assert found[check]["advice"]


def test_refused_credentials(station: Path, tmp_path: Path) -> None:
    with Broker(tmp_path / "closed", password="right") as closed:
        text = station.read_text().split("[birds]")[0].split("port")[0]
        station.write_text(f'{text}port = {closed.port}\nusername = "x"\npassword = "Hammer"\n')
        code, found = examine("--config", str(station))
    assert code == 1
    assert "refuses the credentials" in found["broker"]["found"]
    assert "Hammer" not in json.dumps(found)


def test_an_unsigned_bundle_is_a_warning(station: Path) -> None:
    (station.parent / "colours" / "manifest.json.sig").unlink()
    code, found = examine("--config", str(station))
    assert (code, found["birds bundle"]["status"]) == (0, "warn")
    replace("[birds]", '[bundles]\nsignature = "required"\n[birds]')(station)
    code, found = examine("--config", str(station))
    assert (code, found["birds bundle"]["status"]) == (1, "fail")
    assert str(signing.user_keys()) in found["birds bundle"]["found"]


def test_a_state_folder_nobody_can_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = Config(station="a", state_dir=tmp_path / "file" / "state")
    assert machine_checks.state_folder(settings).status is Status.FAIL


def test_a_full_disk_is_no_question_of_rights(tmp_path: Path) -> None:
    with room(0):
        finding = machine_checks.state_folder(Config(station="a", state_dir=tmp_path))
    assert finding.status is Status.FAIL
    assert "make room" in finding.advice and "let this user" not in finding.advice


def test_too_little_room_is_a_warning(tmp_path: Path) -> None:
    settings = Config(station="a", state_dir=tmp_path, outbox=Outbox(max_bytes=2**60))
    finding = machine_checks.state_folder(settings)
    assert finding.status is Status.WARN and "make room" in finding.advice


def test_a_clock_that_was_never_set(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = machine_checks.time.gmtime(86_400)
    monkeypatch.setattr(machine_checks.time, "localtime", lambda *_: moment)
    assert machine_checks.clock().status is Status.FAIL


def test_little_memory_and_a_slow_governor_are_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 999 kB\nMemAvailable: 99 kB\n")
    monkeypatch.setattr(machine_checks, "MEMORY_INFO", tmp_path / "meminfo")
    assert machine_checks.memory().status is Status.WARN
    (tmp_path / "governor").write_text("powersave\n")
    monkeypatch.setattr(machine_checks.machine, "GOVERNOR", tmp_path / "governor")
    assert machine_checks.processor().status is Status.WARN
