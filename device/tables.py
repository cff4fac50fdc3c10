"""TOML that a person wrote: recipes, studies, configuration."""

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from device.errors import BadInputError


def read(path: Path) -> tuple[dict[str, Any], str]:
    """The file's table and its text.

    Raises:
        BadInputError: not readable, not TOML, or a number in it is infinite or none.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text, parse_float=_finite), text
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, _NoSettingError) as error:
        raise BadInputError(f"{path}: not valid TOML: {error}") from error


def as_written(table: Mapping[str, Any]) -> str:
    """The table as JSON, to be validated strictly: true is no 1, "2" and 2e0 are no 2.

    Of Python's own values strictly, lists, which TOML's are, would be no tuples.
    """
    return json.dumps(table, default=str)


class _NoSettingError(ValueError):
    """TOML has such numbers, no setting does."""


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NoSettingError(f"{text} is no setting")
    return number
