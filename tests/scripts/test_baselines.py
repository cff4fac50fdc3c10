"""Kept baselines come back as they were, and only where they belong."""

from pathlib import Path

import pytest
import torch

from compress import store
from device.manifest import Data
from scripts import baselines

DATA = Data(description="shapes", licence="none", fingerprint="0" * 64)


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, store.Record, dict[str, torch.Tensor]]:
    """A folder with one baseline, its record and weights."""
    record = store.Record(
        key=store.key("a"),
        kind="baseline",
        seconds=1.0,
        macs=10,
        parameters=6,
        primary="top1",
        validation={"top1": 90.0},
    )
    state = {"weight": torch.rand(2, 3).T, "count": torch.tensor(7)}
    place = store.Place(tmp_path / "made", record.key)
    place.begin()
    place.finish(record, state)
    baselines.keep(place, "net-seed0", DATA, tmp_path / "kept")
    return tmp_path / "kept", record, state


def test_a_kept_baseline_finishes_a_place_of_its_key(
    kept: tuple[Path, store.Record, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    folder, record, state = kept
    place = store.Place(tmp_path / "new", record.key)
    assert baselines.restore(place, "net-seed0", folder)
    assert place.finished() == record
    assert all(torch.equal(place.state()[name], value) for name, value in state.items())
    assert not baselines.restore(place, "net-seed0", folder), "what is there stays"


def test_another_key_or_a_broken_file_is_as_if_it_were_not_there(
    kept: tuple[Path, store.Record, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    folder, record, _ = kept
    assert not baselines.restore(store.Place(tmp_path / "b", store.key("b")), "net-seed0", folder)
    assert not baselines.restore(store.Place(tmp_path / "c", record.key), "net-seed1", folder)
    (folder / "net-seed0.safetensors").write_bytes(b"broken")
    assert not baselines.restore(store.Place(tmp_path / "d", record.key), "net-seed0", folder)
    assert not (tmp_path / "d").exists()
