"""A slow network between a client and a broker whose speed a test sets in bytes, not in seconds."""

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.subscriber import PATIENCE

BUFFER = 8192  # bytes it asks the kernel to hold for it: whatever more waits, waits at the sender
PIECE = 2048  # bytes moved at once


class SlowLink:
    """Forwards `port` to a broker's port inside a `with` block.

    At first everything passes. After `throttle()` only what `allow` lets through goes from the
    clients to the broker; answers always pass.
    """

    def __init__(self, broker: int) -> None:
        self._broker = broker
        self._changed = threading.Condition()
        self._room: int | None = None  # bytes that may still pass, None = any number
        self._sockets: list[socket.socket] = []
        self._server = socket.socket()
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._server.bind(("127.0.0.1", 0))
        self._server.listen()
        self.port = int(self._server.getsockname()[1])

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
        for one in (self._server, *self._sockets):
            with contextlib.suppress(OSError):  # the other end has left already
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def throttle(self) -> None:
        """Nothing passes by itself any more, but for a PIECE that is just being read."""
        with self._changed:
            self._room = 0

    def release(self) -> None:
        """Everything passes again."""
        with self._changed:
            self._room = None
            self._changed.notify_all()

    def allow(self, size: int) -> None:
        """Let `size` bytes pass, and return when they have."""
        with self._changed:
            assert self._room is not None
            self._room += size
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: not self._room, PATIENCE), "nothing to forward"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                client, _ = self._server.accept()
                broker = socket.create_connection(("127.0.0.1", self._broker))
                self._sockets += [client, broker]
                self._start(self._up, client, broker)
                self._start(self._down, broker, client)

    def _up(self, client: socket.socket, broker: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(self._share()):
                broker.sendall(data)
                with self._changed:
                    if self._room is not None:
                        self._room = max(0, self._room - len(data))
                        self._changed.notify_all()
        with contextlib.suppress(OSError):
            broker.shutdown(socket.SHUT_RDWR)

    def _share(self) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._room != 0)
            return PIECE if self._room is None else min(PIECE, self._room)

    def _down(self, broker: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := broker.recv(PIECE):
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _start(work: Callable[..., None], *arguments: socket.socket) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()
