"""A microphone array without hardware: a private PulseAudio whose source is a pipe.

Captured sound is bit-identical to what is fed. The server runs under this process, as root or
as anybody, without systemd or D-Bus, and keeps everything it writes in its own folder.
"""

import contextlib
import errno
import os
import re
import select
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from device.errors import BadInputError, FieldwrenError
from device.samples import Pcm

MAPS = {  # ALSA's channel order: with any other PulseAudio remixes
    1: "mono",
    2: "front-left,front-right",
    4: "front-left,front-right,rear-left,rear-right",
    8: "front-left,front-right,rear-left,rear-right,front-center,lfe,side-left,side-right",
}
BLOCK = 0.020  # seconds written at a time
START_TIMEOUT = 30.0  # seconds for the server to come up
STOP_TIMEOUT = 5.0  # seconds to end in peace
WRITE_TIMEOUT = 30.0  # seconds the pipe may stay full: the server reads while somebody captures
SOCKET_PATH_LIMIT = 107  # bytes, of the operating system


class VirtualMicrophone:
    """A PulseAudio source that plays what `feed` is given.

    Use as a context manager. A child process with `environment` opens it as the PortAudio
    input `device`.

    Args:
        folder: made if missing; the server's files go there. Its path is short and has no
            spaces, quotes or semicolons.
        channels: 1, 2, 4 or 8 (other frame sizes abort PulseAudio 16).
        rate: Hz.
    Raises:
        BadInputError: PulseAudio is not installed, or the folder or channel count cannot be used.
    """

    device = "fieldwren"

    def __init__(self, folder: Path, channels: int = 4, rate: int = 16_000) -> None:
        program = shutil.which("pulseaudio")
        if program is None:
            raise BadInputError(
                "the virtual microphone needs PulseAudio: "
                "apt-get install pulseaudio libasound2-plugins"
            )
        if channels not in MAPS:
            raise BadInputError(f"the virtual microphone has 1, 2, 4 or 8 channels, not {channels}")
        self._folder = folder.resolve()
        self._socket, self._pipe = self._folder / "native", self._folder / "pipe"
        path = str(self._socket)
        if re.search(r"[\s\"';]", path) or len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
            raise BadInputError(f"{folder}: a shorter path without spaces, quotes and semicolons")
        self.channels, self.rate = channels, rate
        self._program = program
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process that captures must find in its environment, besides its own."""
        return {
            "ALSA_CONFIG_PATH": str(self._folder / "asound.conf"),
            "PULSE_SERVER": f"unix:{self._socket}",
            "PULSE_COOKIE": str(self._folder / "cookie"),  # else libpulse makes one in $HOME
        }

    def start(self) -> None:
        """Start the server, also again after `kill`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)  # who can reach the socket can listen
        for stale in (self._socket, self._pipe):  # PulseAudio refuses to start over them
            stale.unlink(missing_ok=True)
        script = self._folder / "server.pa"
        script.write_text(
            f"load-module module-pipe-source source_name={self.device} file={self._pipe} "
            f"format=s16le rate={self.rate} channels={self.channels} "
            f"channel_map={MAPS[self.channels]}\n"
            # last: who can connect finds the source
            f"load-module module-native-protocol-unix auth-anonymous=1 socket={self._socket}\n"
        )
        (self._folder / "asound.conf").write_text(
            "</usr/share/alsa/alsa.conf>\n"
            f"pcm.{self.device} {{ type pulse "
            f'server "unix:{self._socket}" device "{self.device}" }}\n'
        )
        log_file = self._folder / "server.log"
        home = {key: str(self._folder) for key in ("HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH")}
        self._server = subprocess.Popen(
            [
                *(self._program, "-n", "-F", str(script), "--daemonize=no", "--use-pid-file=no"),
                *("--exit-idle-time=-1", "--disable-shm=yes", f"--log-target=newfile:{log_file}"),
            ],
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **home},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_TIMEOUT
        try:
            while not self._answers():
                if self._server.poll() is not None or time.monotonic() > deadline:
                    raise FieldwrenError(f"PulseAudio did not start: see {log_file}")
                time.sleep(0.02)
        except BaseException:  # whoever interrupts the wait gets no microphone to stop
            self.kill()
            raise

    def feed(self, samples: Pcm, speed: float = 1.0) -> None:
        """Let the microphone hear samples [frames, channels], at `speed` times their own pace.

        While nobody captures, the pipe fills (64 KiB) and `feed` waits; PortAudio, when it
        looks at its devices, swallows what is in it. So feed silence until the reader is heard.

        Raises:
            FieldwrenError: the server is gone, or nobody captures.
        """
        size = round(BLOCK * self.rate)
        try:
            pipe = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            raise FieldwrenError(f"the virtual microphone is gone: {error.strerror}") from error
        try:
            begin = time.monotonic()
            for number, start in enumerate(range(0, len(samples), size)):
                time.sleep(max(0.0, begin + number * BLOCK / speed - time.monotonic()))
                _write(pipe, samples[start : start + size].astype("<i2").tobytes())
        finally:
            os.close(pipe)

    def kill(self) -> None:
        """End the server at once, as a crash does."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def stop(self) -> None:
        """End the server in peace."""
        if self._server is not None:
            self._server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(STOP_TIMEOUT)
        self.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self._socket)) == 0


def _write(pipe: int, content: bytes) -> None:
    """Write all of it, waiting while the pipe is full."""
    while content:
        _, writable, _ = select.select([], [pipe], [], WRITE_TIMEOUT)
        if not writable:
            raise FieldwrenError(f"nobody captured for {WRITE_TIMEOUT:.0f} s")
        try:
            content = content[os.write(pipe, content) :]
        except OSError as error:
            if error.errno == errno.EAGAIN:  # room for less than one atomic write
                time.sleep(0.005)
                continue
            raise FieldwrenError(f"the virtual microphone is gone: {error.strerror}") from error
