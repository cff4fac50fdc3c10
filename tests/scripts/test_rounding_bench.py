"""Rounding against latency, on coloured shapes."""

import re
from pathlib import Path

import pytest

from scripts import rounding_bench
from tests.compress import shapes


def test_a_multiple_is_a_row_within_its_share_of_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding_bench, "MULTIPLES", (8,))
    shapes.make_folder(tmp_path / "shapes", train=3, test=1)
    recipe = shapes.write_recipe(tmp_path / "shapes.toml")
    rounding_bench.main([str(recipe)], tmp_path, macs=0.6)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("shapes: ") for line in lines)
    rows = {line.split("|")[1].strip(): line for line in lines if re.match(r"\| (un|mul)", line)}
    assert list(rows) == ["unpruned", "multiples of 8"]
    macs = [float(row.split("|")[2]) for row in rows.values()]
    assert 0.3 * macs[0] < macs[1] <= 0.6 * macs[0] + 0.05  # as printed, to a tenth
