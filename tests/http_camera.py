"""A Motion JPEG camera on a raw loopback socket; it can stall, die and come back."""

import contextlib
import socket
import threading
from collections.abc import Callable

from device import images
from device.images import Image

PERIOD = 0.02  # seconds
CLOSE_LIMIT = 60.0  # seconds


class Server:
    """Serves pictures(0), pictures(1), … to every connection, one each PERIOD seconds."""

    def __init__(self, pictures: Callable[[int], Image], port: int = 0) -> None:
        self.pictures = pictures
        self.stalled = threading.Event()
        self._closed = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", port))
        self._socket.settimeout(0.05)
        self.port = self._socket.getsockname()[1]
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://someone:secret@127.0.0.1:{self.port}/stream.mjpg"

    def _accept(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._socket.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(1)
            connection.recv(4096)
            connection.sendall(
                b"HTTP/1.0 200 OK\r\n"
                b"Content-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
            )
            number = 0
            while not self._closed.wait(PERIOD):
                if self.stalled.is_set():
                    continue
                content = images.jpeg(self.pictures(number))
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}"
                connection.sendall(head.encode() + b"\r\n\r\n" + content + b"\r\n")
                number += 1

    def close(self) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join(CLOSE_LIMIT)
        self._socket.close()
