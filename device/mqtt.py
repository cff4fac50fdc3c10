"""A paho client from our settings, and what a failed connection means."""

import queue
import secrets
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from device import config
from device.errors import BadInputError

CONNECT_TIMEOUT = 5.0  # seconds for the TCP connection
BACK_OFF_FIRST, BACK_OFF_MOST = 1, 30  # seconds between attempts, doubling

# CONNACK reasons that another attempt does not change
WRONG_CREDENTIALS = (0x86, 0x87, 0x8C)  # user name or password, not authorized, method
NOT_MQTT_5 = (0x01, 0x84)  # unacceptable protocol version, in 3.1.1 and in 5

NOT_YET_VALID = 9  # a certificate to this clock: OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID


@dataclass(frozen=True)
class Failure:
    """Why there is no connection. `permanent`: only a change of settings helps."""

    message: str
    permanent: bool


class Network(Client):
    """paho's client. What ends its network thread it would only print; `on_death` hears of it."""

    def __init__(self, client_id: str, on_death: Callable[[Exception], None]) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
        self._on_death = on_death

    def loop_forever(
        self, timeout: float = 1.0, retry_first_connection: bool = False
    ) -> MQTTErrorCode:
        """What the network thread runs."""
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception as error:  # whatever it is, somebody must hear of it
            self._on_death(error)
            return MQTTErrorCode.MQTT_ERR_UNKNOWN


def new_client(
    settings: config.Mqtt, client_id: str, on_death: Callable[[Exception], None]
) -> Client:
    """An MQTT 5 client with credentials, TLS and back-off, not connected yet.

    Args:
        on_death: called with what has ended the network thread for good.
    Raises:
        BadInputError: an unreadable password or CA file.
    """
    client = Network(client_id, on_death)
    client.connect_timeout = CONNECT_TIMEOUT
    client.reconnect_delay_set(BACK_OFF_FIRST, BACK_OFF_MOST)
    if settings.username is not None:
        client.username_pw_set(settings.username, config.password(settings))
    if settings.ca_file is not None:
        try:
            client.tls_set(str(settings.ca_file))
        except OSError as error:  # ssl.SSLError is one
            raise BadInputError(f"mqtt.ca_file: {settings.ca_file}: {error}") from error
    return client


def address(settings: config.Mqtt) -> str:
    """host:port, for messages."""
    return f"{settings.host}:{settings.port}"


def refused(settings: config.Mqtt, reason: ReasonCode) -> Failure:
    """The broker answered, but not with yes."""
    where = f"broker {address(settings)}"
    if reason.value in WRONG_CREDENTIALS:
        user = settings.username or "no user name"
        return Failure(
            f"{where} refuses the credentials ({reason}): check mqtt.username ({user}) and"
            " mqtt.password",
            permanent=True,
        )
    if reason.value in NOT_MQTT_5:
        return Failure(f"{where} does not speak MQTT 5: use Mosquitto 1.6 or later", True)
    return Failure(f"{where} refuses the connection: {reason}", permanent=False)


def unreachable(settings: config.Mqtt, error: BaseException | None) -> Failure:
    """No answer: the network, the name, or TLS."""
    where = f"broker {address(settings)}"
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code == NOT_YET_VALID:
        # a Pi begins with the hour it was switched off at, until the network sets its clock
        return Failure(f"{where}: TLS: {error}: is this machine's clock right?", permanent=False)
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return Failure(f"{where}: TLS: {error}: check mqtt.ca_file and mqtt.port", permanent=True)
    return Failure(f"{where} cannot be reached: {error or 'connection closed'}", permanent=False)


def probe(settings: config.Mqtt, timeout: float) -> Failure | None:
    """Connect once and leave; why not, or None when the broker accepts us.

    Raises:
        BadInputError: an unreadable password or CA file.
    """
    answers: queue.Queue[Failure | None] = queue.Queue()

    def on_death(error: Exception) -> None:
        answers.put(unreachable(settings, error))

    def on_connect(client: Client, _: Any, flags: Any, reason: ReasonCode, more: Any) -> None:
        answers.put(refused(settings, reason) if reason.is_failure else None)

    def on_connect_fail(client: Client, _: Any) -> None:
        answers.put(unreachable(settings, sys.exception()))

    client = new_client(settings, f"fieldwren-probe-{secrets.token_hex(4)}", on_death)
    client.on_connect, client.on_connect_fail = on_connect, on_connect_fail
    client.connect_async(settings.host, settings.port, settings.keepalive, clean_start=True)
    client.loop_start()
    try:
        return answers.get(timeout=timeout)
    except queue.Empty:
        return unreachable(settings, TimeoutError("no answer"))
    finally:
        client.disconnect()
        client.loop_stop()
