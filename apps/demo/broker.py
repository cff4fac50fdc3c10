"""A real Mosquitto of one's own: loopback only, own folder, stopped by its process id."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from device.errors import BadInputError, FieldwrenError

START_TIMEOUT = 20.0  # seconds until it accepts connections
STOP_TIMEOUT = 5.0  # seconds from SIGTERM to SIGKILL
POLL = 0.05  # seconds between attempts to connect
USER = "fieldwren"
PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")  # not in every PATH


class Broker:
    """Mosquitto on a loopback port, running inside a `with` block.

    Args:
        folder: configuration, log and stored messages; made when missing.
        port: None = a free one.
        password: asked of user "fieldwren"; None = everybody may.
        persistent: keep retained and queued messages across a SIGKILL.
        acl: lines of an access list, see mosquitto.conf(5); None = everything is allowed.
    Raises:
        BadInputError: Mosquitto is not installed.
        FieldwrenError: it does not start.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        password: str | None = None,
        persistent: bool = False,
        acl: str | None = None,
    ) -> None:
        self.folder = folder
        self.port = port or _free_port()
        self.log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir(parents=True, exist_ok=True)
        lines = [
            "user root",  # started by root it would become "mosquitto", who cannot read our folder
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'true' if password is None else 'false'}",
            "max_queued_messages 100000",
        ]
        if password is not None:
            lines.append(f"password_file {self._passwords(password)}")
        if acl is not None:
            (folder / "acl").write_text(acl)
            lines.append(f"acl_file {folder / 'acl'}")
        if persistent:
            lines += [
                "persistence true",
                f"persistence_location {folder / 'data'}/",
                "autosave_interval 1",
                "autosave_on_changes true",
            ]
        self._config.write_text("\n".join(lines) + "\n")

    def __enter__(self) -> "Broker":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        program = _program("mosquitto")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-c", self._config], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        try:
            self._await(self._process)
        except BaseException:  # whoever interrupts the wait gets no broker to stop
            self.stop()
            raise

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        """Until it accepts connections."""
        deadline = time.monotonic() + START_TIMEOUT
        while process.poll() is None and time.monotonic() < deadline:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 1),
            ):
                return
            time.sleep(POLL)
        last = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise FieldwrenError(f"Mosquitto did not start on port {self.port}: {last[0]}")

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            FieldwrenError: it does not run.
        """
        if self._process is None:
            raise FieldwrenError("this Mosquitto does not run")
        return self._process.pid

    def kill(self) -> None:
        """End it without warning (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as a service manager would."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Start again on the same port, with the same folder."""
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _passwords(self, password: str) -> Path:
        path = self.folder / "passwords"
        path.write_text(f"{USER}:{password}\n")
        path.chmod(0o600)
        # hashes the file in place, so the password is on no command line
        subprocess.run([_program("mosquitto_passwd"), "-U", path], check=True)
        return path


def _program(name: str) -> str:
    found = shutil.which(name) or next(
        (found for place in PLACES if (found := shutil.which(name, path=place))), None
    )
    if found is None:
        raise BadInputError(f"{name} is not installed: apt-get install mosquitto")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
