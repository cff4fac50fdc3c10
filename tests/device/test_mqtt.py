"""Why there is no connection, told apart."""

import datetime
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from apps.demo.broker import USER, Broker
from device import mqtt
from device.config import Config, Mqtt
from device.errors import BadInputError
from device.station import Station

TIMEOUT = 30.0
FREE = 1  # a port nothing listens on


def settings(port: int, **more: object) -> Mqtt:
    return Mqtt.model_validate({"port": port, **more})


def certificate(folder: Path, name: str, begin: int = -1) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as files; valid in `begin` days."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begin))
        .not_valid_after(now + datetime.timedelta(days=begin + 2))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / f"{name}.crt", folder / f"{name}.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return public, private


@pytest.fixture
def tls_broker(tmp_path: Path) -> Iterator[Broker]:
    """A Mosquitto whose listener speaks TLS with the certificate tmp_path/broker.crt."""
    broker = Broker(tmp_path / "mosquitto")
    config = tmp_path / "mosquitto" / "mosquitto.conf"
    with config.open("a") as more:
        more.write(f"certfile {tmp_path}/broker.crt\nkeyfile {tmp_path}/broker.key\n")
    certificate(tmp_path, "broker")
    with broker:
        yield broker


def test_a_broker_that_accepts_us(broker: Broker) -> None:
    assert mqtt.probe(settings(broker.port), TIMEOUT) is None


def test_wrong_credentials_are_permanent(tmp_path: Path) -> None:
    with Broker(tmp_path, password="right") as broker:
        wrong = settings(broker.port, username=USER, password="wrong")
        failure = mqtt.probe(wrong, TIMEOUT)
        right = settings(broker.port, username=USER, password="right")
        assert mqtt.probe(right, TIMEOUT) is None
    assert failure is not None and failure.permanent
    assert "mqtt.username (fieldwren)" in failure.message
    assert "wrong" not in failure.message


def test_nobody_there_may_change() -> None:
    failure = mqtt.probe(settings(FREE), TIMEOUT)
    assert failure is not None and not failure.permanent
    assert failure.message == "broker 127.0.0.1:1 cannot be reached: [Errno 111] Connection refused"


def test_somebody_who_never_answers(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        failure = mqtt.probe(settings(silent.getsockname()[1]), 0.5)
    assert failure is not None and not failure.permanent
    assert failure.message.endswith("no answer")


def test_tls_with_the_right_authority(tls_broker: Broker, tmp_path: Path) -> None:
    trusting = settings(tls_broker.port, ca_file=tmp_path / "broker.crt")
    assert mqtt.probe(trusting, TIMEOUT) is None


def test_tls_with_a_wrong_authority_is_permanent(tls_broker: Broker, tmp_path: Path) -> None:
    stranger, _ = certificate(tmp_path, "stranger")
    failure = mqtt.probe(settings(tls_broker.port, ca_file=stranger), TIMEOUT)
    assert failure is not None and failure.permanent
    assert "TLS" in failure.message and "mqtt.ca_file" in failure.message


def test_an_old_clock_is_waited_for(tls_broker: Broker, tmp_path: Path) -> None:
    used = tmp_path / "broker.crt", tmp_path / "broker.key"
    good = [path.read_bytes() for path in used]
    early = [path.read_bytes() for path in certificate(tmp_path, "early", begin=30)]  # in 30 days

    def restart_with(files: list[bytes]) -> None:
        for path, content in zip(used, files, strict=True):
            path.write_bytes(content)
        tls_broker.restart()

    (tmp_path / "both.crt").write_bytes(good[0] + early[0])
    restart_with(early)
    trusting = settings(tls_broker.port, ca_file=tmp_path / "both.crt")
    failure = mqtt.probe(trusting, TIMEOUT)
    assert failure is not None and not failure.permanent
    assert "certificate is not yet valid" in failure.message
    assert "is this machine's clock right?" in failure.message

    whole = Config(station="garden", state_dir=tmp_path / "state", mqtt=trusting)
    station = Station(whole, "birds")
    try:
        station.start()
        assert not station.connected
        restart_with(good)  # stands for a clock that was set
        assert station.wait_connected(TIMEOUT)
    finally:
        station.stop()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_unusable_authority_file_is_bad_input(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInputError, match=r"mqtt\.ca_file"):
        mqtt.new_client(settings(FREE, ca_file=path), "x", print)


def test_an_unreadable_password_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"mqtt.password_file: .*No such file"):
        mqtt.new_client(settings(FREE, username="x", password_file=tmp_path / "none"), "x", print)
