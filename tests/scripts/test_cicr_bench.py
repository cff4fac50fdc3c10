"""The grid beside the bisection, on coloured shapes."""

from pathlib import Path

import pytest

from device.errors import BadInputError
from scripts import cicr_bench
from tests.compress import shapes

CICR = """
[[steps]]
kind = "cicr"
acc_loss = 10.0
interval = 0.25
round_to = 1
finetune = { epochs = 1, lr = 0.01 }
"""


def test_both_search_the_same_rates_and_the_grid_makes_each_candidate_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes.make_folder(tmp_path / "shapes")
    recipe = shapes.write_recipe(tmp_path / "shapes.toml")
    text = recipe.read_text()
    recipe.write_text(text[: text.index("[[steps]]")] + CICR + text[text.index("[gate]") :])
    out = tmp_path / "out"
    cicr_bench.main(str(recipe), tmp_path, out)
    result = cicr_bench.Result.model_validate_json((out / "result.json").read_bytes())
    assert [point.cr for point in result.grid] == [0.25, 0.5, 0.75]
    assert result.threshold == result.original - 10
    macs = [point.macs for point in result.grid]
    assert macs == sorted(macs)
    scores = {point.cr: point.score for point in result.grid}
    assert len(result.bisection) == 2
    for probe in result.bisection:
        assert probe.score == scores[probe.cr]
        assert probe.accepted == (probe.score >= result.threshold)
    assert "<svg" in (out / "scores.svg").read_text()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| b")] == ["bisection"]
    assert next(line for line in lines if line.startswith("| grid ")).split("|")[2].strip() == "3"

    def records() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in out.rglob("record.json")}

    made = records()
    key = out / "probes-seed0" / "key"
    told = key.read_text()
    key.unlink()  # probes of before there were keys: not known
    recipe.write_text(recipe.read_text().replace("acc_loss = 10.0", "acc_loss = 9.0"))
    cicr_bench.main(str(recipe), tmp_path, out)
    assert made == records() and key.read_text() == told
    recipe.write_text(recipe.read_text().replace("lr = 0.01 }", "lr = 0.02 }"))
    cicr_bench.main(str(recipe), tmp_path, out)
    assert {p.parent.name for p, when in records().items() if when == made.get(p)} == {
        "baseline-seed0"
    }


def test_needs_a_recipe_that_searches(tmp_path: Path) -> None:
    shapes.make_folder(tmp_path / "shapes")
    recipe = shapes.write_recipe(tmp_path / "shapes.toml")
    with pytest.raises(BadInputError, match="no step of kind"):
        cicr_bench.main(str(recipe), tmp_path, tmp_path / "out")


def test_rates_are_what_a_bisection_may_ask_for() -> None:
    assert len(cicr_bench.rates(0.01)) == 127
    assert cicr_bench.rates(0.5) == [0.5]
