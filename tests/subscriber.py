"""An independent MQTT client for tests: what a broker's other users see."""

import threading
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 30.0  # seconds; generous, nothing in a test waits this long unless it fails


class Message(NamedTuple):
    """One message as it arrived."""

    topic: str
    payload: bytes
    retained: bool


class Subscriber:
    """Listens to topics inside a `with` block; a persistent broker keeps what it misses."""

    def __init__(self, port: int, *topics: str, user: str = "", password: str = "") -> None:
        self.messages: list[Message] = []
        self._arrived = threading.Condition()
        self._subscribed = threading.Event()
        self._topics = topics
        self.client = Client(
            CallbackAPIVersion.VERSION2, uuid.uuid4().hex, protocol=MQTTProtocolVersion.MQTTv5
        )
        self.client.reconnect_delay_set(1, 1)
        if user:
            self.client.username_pw_set(user, password)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._on_message
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600
        # Mosquitto 2.0 keeps across its own restart only what did not begin with a clean start
        self.client.connect("127.0.0.1", port, clean_start=False, properties=session)

    def __enter__(self) -> Self:
        self.client.loop_start()
        assert self._subscribed.wait(PATIENCE), "the broker did not accept the subscription"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def wait(self, until: Callable[[list[Message]], bool]) -> list[Message]:
        """The messages so far, once `until` is true of them."""
        with self._arrived:
            done = self._arrived.wait_for(lambda: until(self.messages), PATIENCE)
            assert done, f"still waiting; so far {self.messages[-20:]}"
            return list(self.messages)

    def on(self, topic: str) -> list[bytes]:
        """Payloads so far on one topic."""
        with self._arrived:
            return [message.payload for message in self.messages if message.topic == topic]

    def _on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe([(topic, 1) for topic in self._topics])

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        with self._arrived:
            payload = bytes(message.payload)
            self.messages.append(Message(message.topic, payload, message.retain))
            self._arrived.notify_all()


def retained(port: int, topic: str) -> bytes | None:
    """What a newcomer is told about a topic; None when nothing is retained."""
    end = f"{topic}/end-of-retained"
    with Subscriber(port, topic, end) as newcomer:
        newcomer.client.publish(end, b"", qos=1)  # arrives after everything retained
        messages = newcomer.wait(lambda all_: any(m.topic == end for m in all_))
    return next((m.payload for m in messages if m.topic == topic and m.retained), None)
