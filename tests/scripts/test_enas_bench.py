"""The table and figures of the architecture search's arms, from results as runs store them."""

import pickle
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress import workers
from compress.figures import Figure, Series
from compress.recipe import load
from compress.workers import InProcess, Workers
from device.errors import BadInputError
from scripts import enas_bench
from scripts.enas_bench import ARMS, run
from scripts.enas_table import CURVES, Result, read, write
from tests.compress import shapes
from tests.compress.enas import children


def _store(out: Path, arm: str, seed: int, *, macs: int, validation: float) -> None:
    curves = tuple(
        Figure(
            title=title,
            x="evaluations",
            y="",
            series=(Series(name="y", x=(10.0, 20.0), y=(float(seed), 1.0)),),
        )
        for title in CURVES
    )
    made = Result(
        key="",
        arm=arm,
        seed=seed,
        child_macs=10_000_000,
        child=80.0 + seed,
        macs=macs,
        parameters=1000,
        validation=validation,
        test=validation - 1,
        gap=-2.0,
        evaluations=2000,
        curves=curves,
    )
    folder = out / f"{arm}-seed{seed}"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(made.model_dump_json())


def test_every_arm_is_a_line_of_means_over_seeds(tmp_path: Path) -> None:
    _store(tmp_path, "random", 0, macs=5_000_000, validation=70.0)
    _store(tmp_path, "both", 0, macs=4_000_000, validation=78.0)
    _store(tmp_path, "both", 1, macs=6_000_000, validation=80.0)
    lines = write(tmp_path, ARMS).splitlines()
    assert len(lines) == 4
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "both",
        "10.00 ± 0.00",
        "80.50 ± 0.71",
        "5.00 ± 1.41",
        "50%",
        "79.00 ± 1.41",
        "78.00 ± 1.41",
        "-2.00 ± 0.00",
        "2000",
        "2",
    ]
    assert lines[3].startswith("| random | 10.00 | 80.00 | 5.00 | 50% | 70.00 | 69.00 |")
    for name in ("pareto.svg", "curves.svg"):
        assert "<svg" in (tmp_path / name).read_text()
    assert "random" in (tmp_path / "pareto.svg").read_text()


def test_arms_from_search_to_table(tmp_path: Path) -> None:
    """Every arm on coloured shapes: who is compared with whom, and what is not done twice."""
    shapes.make_folder(tmp_path / "shapes")
    path = tmp_path / "tiny.toml"
    path.write_text(children.RECIPE.format(model="", search="alpha = 1.0\nbeta = 0.0"))
    out, arms = tmp_path / "out", "both,cells-l1,ratios,scratch"
    run(tmp_path, out, arms, "0", str(path))
    made = {arm: read(out / f"{arm}-seed0" / "result.json") for arm in arms.split(",")}
    both = made["both"]
    assert both.macs < both.child_macs  # or there is nothing to compare
    assert made["scratch"].macs == both.macs and made["scratch"].parameters == both.parameters
    assert made["scratch"].evaluations == 0 and made["scratch"].gap is None
    assert {made[arm].evaluations for arm in ("cells-l1", "ratios")} == {both.evaluations}
    assert made["ratios"].child_macs == both.child_macs
    assert made["cells-l1"].macs <= both.macs
    table = (out / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == [
        "both",
        "cells-l1",
        "ratios",
        "scratch",
    ]
    stages = {file: file.stat().st_mtime_ns for file in out.rglob("state.pt")}
    run(tmp_path, out, arms, "0", str(path))
    assert {file: file.stat().st_mtime_ns for file in out.rglob("state.pt")} == stages
    assert read(out / "both-seed0" / "result.json") == both
    path.write_text(path.read_text().replace("lr = 0.02", "lr = 0.01"))
    with pytest.raises(BadInputError, match="another recipe or other data: run `both` again"):
        run(tmp_path, out, "scratch", "0", str(path))
    run(tmp_path, out, "both", "0", str(path))
    assert read(out / "both-seed0" / "result.json").key != both.key


@pytest.mark.parametrize("arm", ["cells-l1", "ratios", "scratch"])
def test_what_is_compared_with_the_method_needs_it(arm: str, tmp_path: Path) -> None:
    shapes.make_folder(tmp_path / "shapes")
    path = tmp_path / "tiny.toml"
    path.write_text(children.RECIPE.format(model="", search=""))
    with pytest.raises(BadInputError, match="run th"):
        run(tmp_path, tmp_path / "out", arm, "0", str(path))


def test_searches_of_all_arms_have_the_same_number_of_evaluations(tmp_path: Path) -> None:
    base = load(enas_bench.RECIPE)
    _store(tmp_path, "both", 0, macs=4_000_000, validation=78.0)
    counts = set()
    for arm in enas_bench.SEARCHES:
        if arm != "ratios":  # needs a finished search
            search = enas_bench._variant(base, tmp_path, arm, 0).search
            assert search is not None
            counts.add((search.epochs, search.controller_steps, search.samples, search.finalists))
    assert len(counts) == 1


def test_seeds_are_tasks_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Cluster(InProcess):
        def map(self, function: Any, items: Any) -> Iterator[Any]:
            task = pickle.loads(pickle.dumps(function))
            made.append((task.args[-1], list(items)))
            for seed in items:
                yield task(seed)
            (tmp_path / "table.md").write_text("of the task that read first and wrote last")

    def start(address: str | None, folder: Path) -> AbstractContextManager[Workers]:
        assert (address, folder) == ("auto", tmp_path)
        return nullcontext(Cluster())

    def arm(*given: Any) -> Result:
        name, seed = given[-2:]
        _store(tmp_path, name, seed, macs=4_000_000, validation=78.0)
        return read(tmp_path / f"{name}-seed{seed}" / "result.json")

    monkeypatch.setattr(workers, "start", start)
    monkeypatch.setattr(enas_bench, "_run", arm)
    task = SimpleNamespace(make=lambda *_: None)
    monkeypatch.setattr(enas_bench, "tasks", SimpleNamespace(plugin=lambda *_: task))
    run(tmp_path, tmp_path, "both,random", "3,5", ray="auto")
    assert made == [(["both", "random"], [3, 5])]
    lines = (tmp_path / "table.md").read_text().splitlines()[2:]
    assert [[line.split(" | ")[i].strip("| ") for i in (0, -1)] for line in lines] == [
        ["both", "2"],
        ["random", "2"],
    ]


def test_a_result_of_another_version_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _store(tmp_path, "both", 0, macs=4_000_000, validation=78.0)
    _store(tmp_path, "random", 0, macs=4_000_000, validation=70.0)
    path = tmp_path / "random-seed0" / "result.json"
    path.write_text(path.read_text().replace('"key"', '"old"'))
    assert write(tmp_path, ARMS).count("\n") == 3
    assert "random-seed0/result.json: of another version" in capsys.readouterr().out


def test_an_unknown_arm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no arm 'beta'; there are both"):
        run(tmp_path, tmp_path, arms="beta", seeds="0", recipe=enas_bench.RECIPE)
    with pytest.raises(BadInputError, match="no finished run yet"):
        write(tmp_path, ARMS)


@pytest.mark.parametrize("seeds", ["a", "", "-1", "0,,1"])
def test_seeds_are_numbers(seeds: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="expected numbers"):
        enas_bench.run(tmp_path, tmp_path / "out", "both", seeds)
