"""What studies share."""

from pathlib import Path
from typing import Any

import pytest

from device.errors import BadInputError
from device.manifest import Frozen
from scripts import pruning_cells, rnn_bench, studies


def test_parts_share_out_every_cell_once() -> None:
    cells = list(range(7))
    parts = [studies.share(cells, f"{i}/3") for i in range(3)]
    assert sorted(cell for part in parts for cell in part) == cells
    assert studies.share(cells, "0/1") == cells
    assert studies.share(cells, "0/0") == []


@pytest.mark.parametrize("part", ["2", "a/b", "2/2", "-1/2", "1/0"])
def test_says_what_a_part_is(part: str) -> None:
    with pytest.raises(BadInputError, match="expected I/N"):
        studies.share([1], part)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"criterion": "l1"}, "uniform: steps: "),
        ({"kind": "prun"}, "uniform: steps: .*prune"),
        ({"kind": "prune", "criterion": "l3"}, "uniform: steps: .*criterion"),
        ({"kind": "prune", "criterion": "l1", "round_to": True}, r"uniform: steps: .*round_to"),
        ({"kind": "prune", "criterion": "l1", "round_to": "8"}, r"uniform: steps: .*round_to"),
    ],
)
def test_says_what_is_wrong_with_a_step(table: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        studies.step("uniform", table, {"macs": 0.5})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "seeds: "),
        ({"seeds": ["0"]}, r"seeds\.0: "),
        ({"budgets": [1.5]}, r"budgets\.0: "),
        ({"budgets": [0.0]}, r"budgets\.0: "),
        ({"method": [{"name": "L1 (a)"}, {"name": "l1, a"}]}, 'method: .*"l1, a" has the letters'),
    ],
)
@pytest.mark.parametrize("kind", [rnn_bench.Study, pruning_cells.Study])
def test_a_study_that_makes_no_sense_is_one_line(
    kind: type[Frozen], change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    table = {
        "recipe": "a",
        "seeds": [0],
        "budgets": [0.5],
        "method": [{"name": "a"}],
        **change,
    }
    for method in table["method"]:
        method["steps"] = []
    if kind is pruning_cells.Study:
        table["finetune"] = {"epochs": 1, "lr": 0.1}
        for method in table["method"]:
            method["by"] = "control"
    path = tmp_path / "study.toml"
    path.write_text("\n".join(f"{key} = {_toml(value)}" for key, value in table.items()))
    with pytest.raises(BadInputError, match=message):
        studies.read(path, kind)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(own)}" for key, own in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_a_budget_reaches_the_steps_that_take_one() -> None:
    assert studies.step("a", {"kind": "prune", "criterion": "l1"}, {"macs": 0.5}).macs == 0.5  # type: ignore[union-attr]
    studies.step("a", {"kind": "fake-prune"}, {"macs": 0.5})


def test_every_budget_has_a_name_and_a_percentage_of_its_own() -> None:
    budgets = [1.0, 0.66, 0.57, 0.3333333, 0.3333334, 1e-5, 1e-7 / 3, 0.1 + 0.2]
    names = [studies.exact(budget) for budget in budgets]
    assert names[:4] == ["1", "0.66", "0.57", "0.3333333"]  # rows and stages of before stay found
    assert [float(name) for name in names] == budgets
    shown = [studies.percent(budget) for budget in budgets]
    assert shown[:6] == ["100%", "66%", "57%", "33.33333%", "33.33334%", "0.001%"]


def test_rows_of_different_data_make_no_table(tmp_path: Path) -> None:
    studies.one_data(tmp_path, [(0, "a"), (0, None), (0, "a"), (1, "b")])
    with pytest.raises(BadInputError, match="its rows are of different data: do all again"):
        studies.one_data(tmp_path, [(0, "a"), (1, "b"), (0, None), (0, "b")])
