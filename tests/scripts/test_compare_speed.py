"""Which of a study's cells are timed."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from device.errors import BadInputError
from scripts import compare_speed, pruning_cells, studies
from tests.compress import shapes
from tests.scripts.test_compare_pruning import STUDY


class _Runner:
    """Walks at once."""

    def __init__(self, *_: object) -> None:
        record = SimpleNamespace(macs=2_000_000)
        self.start = SimpleNamespace(task=None, net=None, record=record)

    def walk(self, method: pruning_cells.Method, budget: float) -> tuple[None, list[object]]:
        return None, [SimpleNamespace(macs=1_000_000)]


def test_only_cells_that_are_done_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = tmp_path / "study.toml", tmp_path / "out"
    text = STUDY.format(recipe=shapes.write_recipe(tmp_path / "shapes.toml"))
    study.write_text(text.replace("scratch = true\nseeds = [0]", "scratch = true\nseeds = [1]"))
    chosen = studies.read(study, pruning_cells.Study)
    with pytest.raises(BadInputError, match="no finished cell of the first seed"):
        compare_speed.main(study, tmp_path, out)
    (out / "rows").mkdir(parents=True)
    numbers = dict.fromkeys(set(pruning_cells.Row.model_fields) - {"cut", "data"}, 1)
    for method in chosen.method[:2]:
        told = {"method": method.name, "by": method.by, "budget": 0.5, "seed": 0, "cut": None}
        key = pruning_cells.key(chosen, 0, method, 0.5)
        row = pruning_cells.Row.model_validate({**numbers, **told, "key": key})
        pruning_cells.row(out, method, 0.5, 0).write_text(row.model_dump_json())
    timed = SimpleNamespace(runtime=SimpleNamespace(description="none"))
    monkeypatch.setattr("scripts.compare_pruning.Runner", _Runner)
    monkeypatch.setattr(compare_speed, "exported", lambda *_: (timed, timed))
    monkeypatch.setattr(compare_speed, "line", lambda name, *_: name)
    compare_speed.main(study, tmp_path, out)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-5:-2] == ["baseline", "uniform L1, 50%", "tp Taylor, 50%"]
    left = "tp Hessian, global, 50%; tp Taylor's shape, 50%"
    assert lines[-1] == f"not done, so not timed: {left}"
