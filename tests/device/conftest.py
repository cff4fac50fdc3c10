"""Stations for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from device.config import Outbox
from device.station import Station
from tests.stations import Make, config


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Stations that are stopped at the end, in the same state folder."""
    made: list[Station] = []

    def make(
        port: int, app: str = "birds", outbox: Outbox | None = None, **mqtt: object
    ) -> Station:
        made.append(Station(config(tmp_path, port, outbox, **mqtt), app))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for station in made:
        station.stop()
