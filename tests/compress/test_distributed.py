"""Two processes that share each batch: both end with the same weights, those of one process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from compress import distributed
from device.errors import FieldwrenError
from tests.compress import shapes, shared_batch


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shared")
    shapes.make_folder(root / "shapes")
    shapes.write_recipe(root / "shapes.toml", epochs=2)
    return root


def _two(module: str, *arguments: Path | int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"tests.compress.{module}", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def ended(root: Path) -> list[dict[str, Any]]:
    """What each of two processes ended with."""
    done = _two("shared_batch", root, root, 0)
    assert done.returncode == 0, done.stderr
    return [torch.load(root / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", ["batch", "example"])
def test_both_processes_end_with_the_same_network(ended: list[dict[str, Any]], name: str) -> None:
    one, other = ended
    assert one[name].keys() == other[name].keys()
    assert all(torch.equal(value, other[name][key]) for key, value in one[name].items())
    assert one["losses"] == other["losses"]


def test_they_learn_what_one_process_learns_from_whole_batches(
    root: Path, tmp_path: Path, ended: list[dict[str, Any]]
) -> None:
    """Up to rounding without batch statistics; with them, every process normalises its part."""
    task = shapes.make_task(root, root / "shapes.toml")
    torch.manual_seed(0)
    batch, example = task.build(), shared_batch.without_batch_statistics(task.build())
    losses = ended[0]["losses"]
    assert shared_batch.fit(task, example, root, tmp_path / "x.pt") == pytest.approx(
        losses["example"], rel=1e-4
    )
    for name, value in example.state_dict().items():
        torch.testing.assert_close(ended[0]["example"][name], value, rtol=1e-3, atol=1e-4)
    alone = shared_batch.fit(task, batch, root, tmp_path / "y.pt")
    assert losses["batch"] == pytest.approx(alone, rel=0.3)
    assert losses["batch"] != pytest.approx(alone, rel=1e-6)


def test_only_the_first_process_writes(root: Path, ended: list[dict[str, Any]]) -> None:
    assert {path.name for path in root.glob("*.checkpoint")} == {
        "batch-0.checkpoint",
        "example-0.checkpoint",
    }


def test_a_batch_that_cannot_be_shared_is_refused(ended: list[dict[str, Any]]) -> None:
    assert "a batch of 7 is not to be shared by 2 processes" in ended[1]["refused"]


def test_of_times_that_each_took_all_know_the_least(ended: list[dict[str, Any]]) -> None:
    assert [one["least"] for one in ended] == [[[1.0, 1.0]]] * 2


def test_the_death_of_one_process_ends_the_others(root: Path, tmp_path: Path) -> None:
    done = _two("shared_batch", root, tmp_path, 1)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: process 1 of 2 ended with code 7")
    assert (tmp_path / "batch-0.checkpoint").exists()


def _beside(child: str, folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Fail with `error` while another process runs `child`."""
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", child])
    with distributed._others("file:///nowhere", 2, folder):
        raise error


def test_a_process_may_take_its_time_to_die(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections are closed before it has ended."""
    monkeypatch.setattr(distributed, "DYING", 60.0)
    lost = RuntimeError("Connection closed by peer")
    with pytest.raises(FieldwrenError, match=r"^process 1 of 2 ended with code 1 \(disk full\): "):
        _beside("import sys; sys.exit('disk full')", tmp_path, monkeypatch, lost)


def test_a_process_is_not_blamed_for_an_error_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "DYING", 0.0)
    with pytest.raises(RuntimeError, match="of its own"):
        error = RuntimeError("of its own")
        _beside("import time; time.sleep(600)", tmp_path, monkeypatch, error)
    monkeypatch.setattr(distributed, "DYING", 60.0)
    with pytest.raises(OSError, match="No space left"):  # the others end because this one does
        _beside("exit(1)", tmp_path, monkeypatch, OSError("No space left"))


def test_a_search_trains_its_candidates_together(root: Path, tmp_path: Path) -> None:
    done = _two("shared_netadapt", root, tmp_path)
    assert done.returncode == 0, done.stderr
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert not list(tmp_path.glob("candidate*"))


def test_one_process_is_the_first_and_shares_with_nobody() -> None:
    batch = torch.arange(7)
    assert (distributed.count(), distributed.rank(), distributed.first()) == (1, 0, True)
    assert torch.equal(distributed.part((batch,))[0], batch)
    assert distributed.mean(2.5) == 2.5
