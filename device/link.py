"""A connection to the broker that keeps itself up, and the notes its network thread leaves.

paho calls back in its own thread, partly with its locks held, so nothing is done there: flags and
acknowledgements are noted, `wake` is set, and whoever waits for `wake` acts on them.
"""

import contextlib
import itertools
import logging
import secrets
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from paho.mqtt.client import (
    MQTT_ERR_SUCCESS,
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
    MQTTMessageInfo,
)
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from device import config, mqtt
from device.errors import BadInputError

log = logging.getLogger(__name__)

START_TIMEOUT = 5.0  # seconds open() waits for the broker's first answer
STOP_TIMEOUT = 2.0  # seconds close() waits for its last message to be acknowledged
VOLATILE_LIMIT = 64  # volatile messages of a topic not yet written to the socket: 1.3 s of audio
# bytes the kernel is asked to hold of what was written: left to itself it grows to megabytes,
# which a slow network takes minutes to carry, and the answer to a ping comes after them
SEND_BUFFER = 16 * 1024


@dataclass(frozen=True)
class Counters:
    """Messages since the start of this station."""

    sent: int = 0  # handed to the network
    dropped: int = 0  # volatile ones: offline, or the network too slow
    acknowledged: int = 0  # durable ones the broker has
    refused: int = 0  # the broker said no, such as by its ACL
    reconnects: int = 0


class Link:
    """One MQTT 5 client.

    Args:
        settings: broker and credentials.
        name: start of the client id, which is unique.
        status: topic of the retained last will.
        will: its payload.
    Raises:
        BadInputError: the password file or the CA file cannot be read.
    """

    def __init__(self, settings: config.Mqtt, name: str, status: str, will: bytes) -> None:
        self._settings, self._status, self._will = settings, status, will
        self.wake = threading.Event()
        self.session = ""  # a name for the present connection, empty when offline
        self.answers: dict[int, ReasonCode] = {}  # acknowledgements by message id: at most 65535
        self.messages: dict[str, bytes] = {}  # the newest by subscribed topic
        self._online, self._answered = threading.Event(), threading.Event()
        self._closing = False
        self._failure: mqtt.Failure | None = None
        self._counters, self._counting = Counters(), threading.Lock()
        self._volatile: dict[str, list[MQTTMessageInfo]] = {}  # by topic
        self._volatile_lock = threading.Lock()
        self._death: Exception | None = None
        self._client = client = mqtt.new_client(
            settings, f"{name}-{secrets.token_hex(4)}", self._on_death
        )
        client.will_set(status, will, qos=1, retain=True)
        client.on_pre_connect = self._on_pre_connect
        client.on_socket_open = self._on_socket_open
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us."""
        return self._online.is_set()

    @property
    def counters(self) -> Counters:
        """A snapshot."""
        return self._counters

    @property
    def death(self) -> Exception | None:
        """What ended the network thread, so that nothing is sent any more; None while it runs."""
        return self._death

    def count(self, **more: int) -> None:
        """Add to the counters, from any thread."""
        with self._counting:
            old = self._counters
            self._counters = replace(old, **{k: getattr(old, k) + n for k, n in more.items()})

    def open(self) -> None:
        """Connect in the background and keep connected; a broker out of reach is a warning.

        Raises:
            BadInputError: the broker refuses the credentials, or TLS fails.
        """
        settings = self._settings
        self._client.connect_async(
            settings.host, settings.port, settings.keepalive, clean_start=True
        )
        self._client.loop_start()
        self._answered.wait(START_TIMEOUT)
        failure = self._failure
        if failure is not None and failure.permanent:
            raise BadInputError(failure.message)

    def wait_connected(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; whether connected."""
        return self._online.wait(timeout)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for these topics at QoS 1; their newest messages appear in `messages`."""
        self._client.subscribe([(topic, 1) for topic in topics])

    def send(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False) -> bool:
        """Publish now or never. False, and counted as dropped, when offline or too slow."""
        with self._volatile_lock:
            # each topic has its own room: sound that is too much keeps no telemetry from passing
            waiting = [info for info in self._volatile.get(topic, ()) if _is_waiting(info)]
            self._volatile[topic] = waiting
            info = None
            if self.connected and len(waiting) < VOLATILE_LIMIT:
                info = self._client.publish(topic, payload, qos, retain)
            if info is None or info.rc != MQTT_ERR_SUCCESS:
                self.count(dropped=1)
                return False
            waiting.append(info)
        self.count(sent=1)
        return True

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> int | None:
        """Publish at QoS 1, whatever else waits: the caller bounds how many are under way.

        Returns:
            The id under which `answers` will tell, or None when offline.
        """
        info = self._client.publish(topic, payload, 1, retain)
        if info.rc != MQTT_ERR_SUCCESS:
            return None
        self.count(sent=1)
        return info.mid

    def close(self) -> None:
        """Say the will's words ourselves and disconnect."""
        self._closing = True
        if self.connected:
            info = self._client.publish(self._status, self._will, qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):  # the connection is gone
                info.wait_for_publish(STOP_TIMEOUT)
        self._client.disconnect()
        self._client.loop_stop()
        self._online.clear()

    def _on_pre_connect(self, client: Client, _: Any) -> None:
        # paho would send these again, out of order: the durable ones are in the outbox
        client.drop_out_messages()
        with self._volatile_lock:
            infos = itertools.chain.from_iterable(self._volatile.values())
            self.count(dropped=sum(map(_is_waiting, infos)))
            self._volatile = {}

    def _on_socket_open(self, client: Client, _: Any, opened: Any) -> None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # of TLS, too

    def _on_connect(
        self, client: Client, _: Any, flags: ConnectFlags, reason: ReasonCode, more: Any
    ) -> None:
        if reason.is_failure:
            self._failed(mqtt.refused(self._settings, reason))
            return
        log.info("connected to broker %s", mqtt.address(self._settings))
        self._failure = None
        self.session = secrets.token_hex(8)
        self._online.set()
        self._answered.set()
        self.wake.set()

    def _on_connect_fail(self, client: Client, _: Any) -> None:
        # paho calls this while it handles the exception, but does not pass it on
        self._failed(mqtt.unreachable(self._settings, sys.exception()))

    def _on_disconnect(
        self,
        client: Client,
        _: Any,
        flags: DisconnectFlags,
        reason: ReasonCode,
        more: Properties | None,
    ) -> None:
        was_online = self.connected
        self.session = ""
        self._online.clear()
        if self._closing:
            return
        if was_online:
            self.count(reconnects=1)
            log.warning("connection to broker %s lost: %s", mqtt.address(self._settings), reason)
        elif self._failure is None:
            self._failed(mqtt.unreachable(self._settings, None))

    def _on_death(self, error: Exception) -> None:
        self._death, self.session = error, ""
        self._online.clear()
        self._answered.set()
        self.wake.set()

    def _failed(self, failure: mqtt.Failure) -> None:
        """One line per kind of trouble, however often it comes back; open() raises its own."""
        first = not self._answered.is_set()
        if failure != self._failure and not (first and failure.permanent):
            log.warning("%s; trying again", failure.message)
        self._failure = failure
        self._answered.set()

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        self.messages[message.topic] = bytes(message.payload)
        self.wake.set()

    def _on_publish(
        self, client: Client, _: Any, mid: int, reason: ReasonCode, more: Properties
    ) -> None:
        self.answers[mid] = reason
        self.wake.set()


def _is_waiting(info: MQTTMessageInfo) -> bool:
    """Whether paho still holds this message for a living connection."""
    return info.rc == MQTT_ERR_SUCCESS and not info.is_published()
