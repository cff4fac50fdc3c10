"""What the demo starts ends with it, whenever it is told to end."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from apps.demo import broker, microphone
from compress.defaults import default_data
from device.errors import BadInputError
from tests.microphones import needs_pulseaudio, wait_for

ROOT = Path(__file__).parents[2]


def stop(*_: object) -> None:
    """What SIGTERM does to the main thread."""
    raise SystemExit(143)


def started(monkeypatch: pytest.MonkeyPatch, module: object) -> list[subprocess.Popen[bytes]]:
    """The processes that a module starts."""
    found: list[subprocess.Popen[bytes]] = []

    def popen(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        found.append(subprocess.Popen(*arguments, **options))  # type: ignore[call-overload]
        return found[-1]

    own = SimpleNamespace(**{**vars(subprocess), "Popen": popen})
    monkeypatch.setattr(module, "subprocess", own)
    return found


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder with a short name: a socket's path has little room."""
    with tempfile.TemporaryDirectory(prefix="fw") as folder:
        yield Path(folder)


def test_a_broker_that_is_still_starting_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = started(monkeypatch, broker)
    monkeypatch.setattr(broker.socket, "create_connection", stop)
    with pytest.raises(SystemExit), broker.Broker(tmp_path / "broker"):
        pass
    assert [process.poll() is not None for process in processes] == [True]


@needs_pulseaudio
def test_a_microphone_that_is_still_starting_ends(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = started(monkeypatch, microphone)
    monkeypatch.setattr(microphone.VirtualMicrophone, "_answers", stop)
    with pytest.raises(SystemExit), microphone.VirtualMicrophone(scratch / "array"):
        pass
    assert [process.poll() is not None for process in processes] == [True]


@needs_pulseaudio
def test_sigterm_leaves_nothing_behind(tmp_path: Path, scratch: Path) -> None:
    try:
        data = default_data()
    except BadInputError as error:
        pytest.skip(f"needs the default data: {error}")
    with subprocess.Popen(
        [sys.executable, "-m", "apps.demo", "--data", data, "--out", tmp_path / "out"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        try:
            said = ""
            while "playing" not in said:  # the microphones are up and both apps run
                line = demo.stdout.readline()
                assert line, said
                said += line
            assert len(processes_of(scratch)) == 4
            demo.send_signal(signal.SIGTERM)
            rest = demo.stdout.read()
            code = demo.wait()
            assert (code, processes_of(scratch)) == (143, []), rest
        finally:
            demo.kill()
            for number in processes_of(scratch):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
    wait_for(lambda: not processes_of(scratch), "their end")
    assert list(scratch.iterdir()) == []


def processes_of(folder: Path) -> list[int]:
    """Those that name a file in the folder on their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if str(folder).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found
