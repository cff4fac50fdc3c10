"""The one TOML file: what is wrong is named by its path, secrets stay secret."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from device import config
from device.config import Config, Mqtt
from device.errors import BadInputError
from device.signing import Policy

GOOD = """
station = "garden"
state_dir = "state"
[mqtt]
host = "broker.lan"
username = "garden"
password_file = "secret"
[bundles]
signature = "required"
trusted_keys = ["keys", "/etc/keys"]
[birds]
source = "0"
bundle = "bundles/birds"
[birds.visits]
min_frames = 5
"""
BIRDS = 'station = "a"\n[birds]\nsource = "0"\nbundle = "b"\n'
SPEECH = 'station = "a"\n[speech]\ndevice = "0"\nbundle = "b"\n'

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "fieldwren.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_good_file(write: Write) -> None:
    settings = config.load(write(GOOD))
    assert settings.station == "garden"
    assert settings.birds is not None and settings.birds.visits.min_frames == 5
    assert settings.speech is None
    assert settings.bundles.signature is Policy.REQUIRED


def test_relative_paths_start_at_the_file(write: Write, tmp_path: Path) -> None:
    settings = config.load(write(GOOD))
    assert settings.state_dir == tmp_path / "state"
    assert settings.mqtt.password_file == tmp_path / "secret"
    assert settings.bundles.trusted_keys == (tmp_path / "keys", Path("/etc/keys"))
    assert settings.birds is not None and settings.birds.bundle == tmp_path / "bundles" / "birds"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"station: Field required"),
        ('station = "a b"', r"station: String should match"),
        ('station = "a"\nstaton = "b"', r"staton: unknown key"),
        ('station = "a"\n[mqtt]\nhots = "x"', r"mqtt\.hots: unknown key"),
        ('station = "a"\n[mqtt]\nport = 70000', r"mqtt\.port: .*65535"),
        ('station = "a"\n[mqtt]\nbase_topic = "a/#"', r"mqtt\.base_topic: "),
        ('station = "a"\n[mqtt]\nbase_topic = "a\\u0000"', r"mqtt\.base_topic: "),
        ('station = "a"\n[mqtt]\ndiscovery_prefix = "a/#"', r"mqtt\.discovery_prefix: "),
        ('station = "a"\n[mqtt]\ndiscovery_prefix = "+"', r"mqtt\.discovery_prefix: "),
        ('station = "a"\n[mqtt]\nhost = ""', r"mqtt\.host: "),
        ('station = "a"\n[mqtt]\nhost = "mqtt..local"', r"mqtt\.host: not a host name: "),
        ('station = "a"\n[mqtt]\nhost = ".local"', r"mqtt\.host: not a host name: "),
        (f'station = "a"\n[mqtt]\nhost = "{"x" * 64}.lan"', r"mqtt\.host: not a host name: "),
        ('station = "a"\n[mqtt]\nhost = "a\\u0000b"', r"mqtt\.host: not a host name: "),
        ('station = "a"\n[mqtt]\nhost = "mqtt://u:Hammer@b"', r"mqtt\.host: not a host name: "),
        ('station = "a"\n[mqtt]\nkeepalive = 65536', r"mqtt\.keepalive: .*65535"),
        ('station = "a"\n[mqtt]\npassword = "Hammer"', r"mqtt: a password without a username"),
        ('station = "a"\n[mqtt]\npassword_file = "s"', r"mqtt: a password without a username"),
        (
            'station = "a"\n[birds]\nsource = "0"\nbundle = "b"\nthreads = 100000',
            r"birds\.threads: Input should be less than or equal to \d+",
        ),
        ('station = "a"\n[birds]\nsource = "0"', r"birds\.bundle: Field required"),
        (
            'station = "a"\n[birds]\nsource = "0"\nbundle = "b"\n[birds.visits]\ngap = 0',
            r"birds\.visits\.gap: ",
        ),
        ('station = "a"\n[birds.visits]\ngap = nan', r"not valid TOML: nan is no setting"),
        (f"{BIRDS}open_timeout = 1e300", r"birds\.open_timeout: .*less than or equal to 86400"),
        (f"{BIRDS}read_timeout = 1e6", r"birds\.read_timeout: .*less than or equal to 86400"),
        (f"{SPEECH}buffer = 1e12", r"speech\.buffer: .*less than or equal to 60"),
        (f"{SPEECH}block = 1000000000000", r"speech\.block: .*less than or equal to 65536"),
        ('station = "a"\n[outbox]\nmax_age = 1e300', r"outbox\.max_age: .*less than"),
        (BIRDS.replace('"0"', "true"), r"birds\.source: Input should be a valid string"),
        (BIRDS.replace('"0"', "0.5"), r"birds\.source: Input should be a valid string"),
        ('station = "a', r"not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(write: Write, text: str, reason: str) -> None:
    with pytest.raises(BadInputError, match=rf"fieldwren\.toml: {reason}") as caught:
        config.load(write(text))
    assert "\n" not in str(caught.value) and "Hammer" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["::1", "fe80::1%eth0", "192.168.0.2", "broker.lan.", "bücher.example", "x" * 63]
)
def test_hosts_that_can_be_looked_up(write: Write, host: str) -> None:
    assert config.load(write(f'station = "a"\n[mqtt]\nhost = "{host}"')).mqtt.host == host


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="No such file"):
        config.load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="not valid TOML"):
        config.load(tmp_path / "binary.toml")


def test_the_environment_wins(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIELDWREN_MQTT__HOST", "elsewhere")
    monkeypatch.setenv("FIELDWREN_MQTT__PASSWORD", "Hammer")
    settings = config.load(write(GOOD))
    assert settings.mqtt.host == "elsewhere"
    assert settings.mqtt.password_file is not None, "the rest of the table stays"
    assert config.password(settings.mqtt) == "Hammer"


@pytest.mark.parametrize(
    "name",
    ["FIELDWREN_BUNDLES__TRUSTED_KEYS", "FIELDWREN_BIRDS__VISITS", "FIELDWREN_MQTT"],
)
def test_a_variable_that_should_be_json_is_named_and_not_shown(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "/Hammer")
    with pytest.raises(BadInputError, match=rf"^{name}: .*JSON, such as ") as caught:
        config.load(write(GOOD))
    assert "\n" not in str(caught.value) and "Hammer" not in str(caught.value)


def test_lists_and_tables_of_the_environment_are_json(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDWREN_BUNDLES__TRUSTED_KEYS", '["/srv/keys"]')
    monkeypatch.setenv("FIELDWREN_MQTT", '{"host": "elsewhere"}')
    settings = config.load(write(GOOD))
    assert settings.bundles.trusted_keys == (Path("/srv/keys"),)
    assert (settings.mqtt.host, settings.mqtt.username) == ("elsewhere", "garden")


def test_the_password_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert config.password(Mqtt()) is None
    with pytest.raises(BadInputError, match=r"mqtt\.password_file: .*No such file"):
        config.password(Mqtt(username="a", password_file=path))
    path.write_text("Hammer\n")
    assert config.password(Mqtt(username="a", password_file=path)) == "Hammer"


def test_a_password_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"H\xe4mmer")
    with pytest.raises(BadInputError, match=r"mqtt\.password_file: .*secret: not UTF-8: save"):
        config.password(Mqtt(username="a", password_file=path))


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize(
    "key", ["birds.open_timeout", "birds.max_fps", "birds.motion.margin", "outbox.max_age"]
)
def test_no_number_of_the_environment_is_infinite(
    write: Write, monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    monkeypatch.setenv(f"FIELDWREN_{key.upper().replace('.', '__')}", value)
    with pytest.raises(BadInputError, match=f"{key}: Input should be a finite number"):
        config.load(write(GOOD))


def test_devices_may_be_numbers(write: Write) -> None:
    settings = config.load(
        write(
            'station = "a"\n[birds]\nsource = 0\nbundle = "b"\n[speech]\ndevice = 3\nbundle = "b"\n'
        )
    )
    assert settings.birds is not None and settings.birds.source == "0"
    assert settings.speech is not None and settings.speech.device == "3"


def test_a_password_is_never_shown() -> None:
    mqtt = Mqtt.model_validate({"username": "b", "password": "Hammer"})
    settings = Config(station="a", mqtt=mqtt)
    assert "Hammer" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_settings_do_not_change() -> None:
    settings = Config(station="a")
    with pytest.raises(ValidationError):
        settings.mqtt.host = "b"


def test_the_example_is_good() -> None:
    example = Path(config.__file__).with_name("example.toml")
    settings = config.load(example)
    assert settings.birds is not None and settings.speech is not None
