"""One app's place at the broker: durable detections, volatile audio, status, discovery.

The sender thread alone touches the outbox's cursor, the messages in flight and the retained
status, so each has one owner. Every new connection sends the outbox from its beginning.
"""

import logging
import threading
import time

from device import discovery, mqtt
from device.config import Config
from device.errors import BadInputError, FieldwrenError
from device.link import Counters, Link
from device.messages import OFFLINE, ONLINE, STATUS, App, Payload, mark_replayed
from device.outbox import Outbox, Row

log = logging.getLogger(__name__)

IDLE = 1.0  # seconds between looks at the outbox when nothing happens
IN_FLIGHT = 16  # durable messages without acknowledgement; Mosquitto allows 20
REFUSED_RETRY = 600.0  # seconds until messages the broker refused are offered again


class Station:
    """`fieldwren/<station>/…` seen from one app.

    Args:
        config: station name, broker, outbox bounds; the outbox is <state_dir>/outbox-<app>.db.
        app: which of the station's apps this is.
    Raises:
        BadInputError: the outbox, the password file or the CA file cannot be used.
    """

    def __init__(self, config: Config, app: App) -> None:
        self._config, self._app = config, app
        name = f"fieldwren-{config.station}-{app}"
        self._link = Link(config.mqtt, name, self.topic(STATUS), OFFLINE)
        self._outbox = Outbox(config.state_dir / f"outbox-{app}.db", config.outbox)
        self._sender = threading.Thread(target=self._run, name=f"station-{app}", daemon=True)
        self._stopping = threading.Event()
        self._emptier = threading.Condition()
        self._failure: Exception | None = None  # that ended the sender
        # the sender's own
        self._unannounced = False  # status and discovery are due
        self._announced: dict[int, str] = {}  # their topics by message id, until acknowledged
        self._session = ""  # the connection that the following belong to
        self._in_flight: dict[int, Row] = {}  # by message id
        self._cursor = 0  # the last row sent
        self._retried = 0  # rows up to this one are sent for a second time
        self._retry_at: float | None = None  # monotonic seconds
        self._delivered: set[int] = set()  # acknowledged, still to be deleted

    def topic(self, name: str) -> str:
        """`birds/detection` → `fieldwren/<station>/birds/detection`."""
        return f"{self._config.mqtt.base_topic}/{self._config.station}/{name}"

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us."""
        return self._link.connected

    @property
    def counters(self) -> Counters:
        """A snapshot."""
        return self._link.counters

    @property
    def outbox(self) -> Outbox:
        """What waits for the broker's acknowledgement."""
        return self._outbox

    def start(self) -> None:
        """Connect in the background and keep connected.

        A broker that cannot be reached is a warning; detections wait in the outbox.

        Raises:
            BadInputError: the broker refuses the credentials, or TLS fails.
        """
        self._sender.start()
        try:
            self._link.open()
        except BadInputError:
            self.stop()
            raise

    def check(self) -> None:
        """Called now and then, so that the app does not run on with nothing being sent.

        Raises:
            FieldwrenError: the sender or the network thread has come to an end by itself.
        """
        failure = self._failure or self._link.death
        if failure is not None:
            raise FieldwrenError(
                f"sending to broker {mqtt.address(self._config.mqtt)} ended: "
                f"{type(failure).__name__}: {failure}"
            ) from failure

    def wait_connected(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; whether connected."""
        return self._link.wait_connected(timeout)

    def send(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Publish now or never. False, and counted as dropped, when offline or too slow."""
        return self._link.send(topic, payload, qos, retain)

    def post(self, topic: str, payload: Payload) -> None:
        """Deliver at least once and in order, QoS 1, also across restarts.

        When the disk refuses the message it is sent as a volatile one.
        """
        content = payload.encode()
        if self._outbox.put(topic, content, self._link.session):
            self._link.wake.set()
        else:
            self._link.send(topic, content, qos=1)

    def flush(self, timeout: float) -> int:
        """Wait up to `timeout` seconds for the outbox to empty; messages left in it."""
        with self._emptier:
            self._emptier.wait_for(lambda: len(self._outbox) == 0, timeout)
        return len(self._outbox)

    def stop(self) -> None:
        """Say `offline`, disconnect, close the outbox. What waits is sent at the next start."""
        self._stopping.set()
        self._link.wake.set()
        if self._sender.ident is not None:
            self._sender.join()
        self._link.close()
        if self._failure is None:
            self._settle()
        self._outbox.close()

    def _run(self) -> None:
        """The sender thread."""
        try:
            self._serve()
        except Exception as error:  # whatever it is, the app must hear of it
            self._failure = error

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._link.wake.wait(IDLE)
            self._link.wake.clear()
            self._settle()
            if self._link.connected:
                self._keep_session()
                self._answer_messages()
                self._announce()
                self._ship()

    def _settle(self) -> None:
        """Delete what the broker has acknowledged; leave what it refused for later."""
        while self._link.answers:
            mid, reason = self._link.answers.popitem()
            row, announced = self._in_flight.pop(mid, None), self._announced.pop(mid, None)
            if reason.is_failure:
                self._link.count(refused=1)
                what = row.topic if row else announced or "a message"
                log.warning("the broker refused %s (%s): check its access rules", what, reason)
                if row:
                    self._retry_at = time.monotonic() + REFUSED_RETRY
            elif row:
                self._link.count(acknowledged=1)
                self._delivered.add(row.id)
        if self._delivered and self._outbox.delete(self._delivered):
            self._delivered.clear()
            with self._emptier:
                self._emptier.notify_all()

    def _keep_session(self) -> None:
        """Begin the outbox anew in a new connection, or when refused messages are due again."""
        session = self._link.session
        if session and session != self._session:
            self._session, self._cursor, self._retried, self._retry_at = session, 0, 0, None
            self._in_flight.clear()
            self._announced.clear()
            self._unannounced = True
            self._announce()  # first: what was retained of us is no news
            self._link.subscribe(self._watched())
        elif self._retry_at and time.monotonic() >= self._retry_at and not self._in_flight:
            self._cursor, self._retried, self._retry_at = 0, self._cursor, None

    def _answer_messages(self) -> None:
        """A sibling app's last will on our common status: we are alive. Home Assistant: hello."""
        while self._link.messages:
            topic, payload = self._link.messages.popitem()
            if payload == (OFFLINE if topic == self.topic(STATUS) else ONLINE):
                self._unannounced = True

    def _ship(self) -> None:
        """Publish waiting rows in id order, as many as may be in flight."""
        room = IN_FLIGHT - len(self._in_flight)
        if room <= 0 or len(self._outbox) == 0:
            return
        for row in self._outbox.after(self._cursor, room):
            if row.id not in self._delivered:
                late = row.session != self._session or row.id <= self._retried
                payload = mark_replayed(row.payload) if late else row.payload
                mid = self._link.publish(row.topic, payload)
                if mid is None:
                    return  # offline; the next connection begins anew
                self._in_flight[mid] = row
            self._cursor = row.id

    def _announce(self) -> None:
        """The retained status, and our entities in Home Assistant, when due.

        They pass by what waits, but never twice: the last ones must have arrived.
        """
        if not self._unannounced or self._announced:
            return
        due = {self.topic(STATUS): ONLINE}
        if self._config.mqtt.discovery_prefix:
            topic = discovery.config_topic(self._config, self._app)
            due[topic] = discovery.announcement(self._config, self._app)
        for topic, content in due.items():
            mid = self._link.publish(topic, content, retain=True)
            if mid is None:
                return  # offline; the next connection begins anew
            self._announced[mid] = topic
        self._unannounced = False

    def _watched(self) -> list[str]:
        topics = [self.topic(STATUS)]
        if self._config.mqtt.discovery_prefix:
            topics.append(discovery.status_topic(self._config))
        return topics
