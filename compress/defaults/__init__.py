"""The embedded default data: small, free, made from packages, the same for the same seed.

It lets a fresh machine train, compress and show everything. It is no benchmark: its birds are
seventeen animals and its speakers four; for figures that mean something, bring real sets.
"""

import os
from pathlib import Path

from compress.defaults import record
from device.errors import BadInputError


def default_root() -> Path:
    """`$FIELDWREN_CACHE`, or .cache/fieldwren under the repository's root."""
    named = os.environ.get("FIELDWREN_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(__file__).resolve().parents[2] / ".cache" / "fieldwren"


def folders(data: Path | None) -> tuple[Path, ...]:
    """Where a recipe's paths are looked up: the user's folder first, then the default data.

    Raises BadInputError: no such folder; or none named, and the default data is not complete.
    """
    if data is None:
        return (default_data(),)
    if not data.is_dir():
        raise BadInputError(f"{data}: no such data folder")
    return (data, default_root())


def default_data(root: Path | None = None) -> Path:
    """The folder of the complete default data.

    Raises BadInputError if it has not been made, or not all of it with one seed.
    """
    folder = root or default_root()
    there = record.read(folder)
    missing = [part for part in record.PARTS if part not in there]
    if missing:
        wrong = f"the default data is not complete (no {', '.join(missing)})"
    elif len({told.seed for told in there.values()}) > 1:
        # the same prompt could then be both in training and in the demo
        wrong = "the parts of the default data were made with different seeds"
    else:
        return folder
    raise BadInputError(
        f"{folder}: {wrong}; run `make data`, or use your own data with --data DIR or "
        "FIELDWREN_DATA=DIR"
    )
