"""Tables that a person wrote."""

from pathlib import Path

import pytest

from device import tables
from device.errors import BadInputError


def test_a_table_comes_with_its_text(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("# why\nrate = 1e-3\n")
    assert tables.read(path) == ({"rate": 1e-3}, "# why\nrate = 1e-3\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rate = inf", "inf is no setting"),
        (b"[a]\nrate = -nan", "nan is no setting"),
        (b"rate =", "not valid TOML"),
        (b'name = "\xff"', "not valid TOML"),
    ],
)
def test_what_is_no_table_is_said(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=rf"a\.toml: .*{message}"):
        tables.read(path)
    with pytest.raises(BadInputError, match="No such file"):
        tables.read(tmp_path / "b.toml")
