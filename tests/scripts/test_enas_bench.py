"""The arms of the architecture search's comparison, on coloured shapes."""

import pickle
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from compress import workers
from compress.recipe import load
from compress.task import Quality
from compress.tasks.birds import Birds
from compress.workers import InProcess, Workers
from device.errors import BadInputError
from scripts import enas_bench
from scripts.enas_bench import run
from scripts.enas_table import Result, read
from tests.compress import shapes
from tests.compress.enas import children
from tests.scripts.test_enas_table import store

TO_8 = """[[steps]]
kind = "resize"
size = 8
train_size = 8
"""


def test_without_test_data_there_is_no_score_of_them(tmp_path: Path) -> None:
    shapes.make_folder(tmp_path / "shapes")
    path = children.write_recipe(tmp_path / "tiny.toml")
    path.write_text(path.read_text().replace('test = "shapes/test"\n', ""))
    run(tmp_path, tmp_path / "out", "both", "0", str(path))
    assert read(tmp_path / "out" / "both-seed0" / "result.json").test is None
    assert " | – | " in (tmp_path / "out" / "table.md").read_text()


def test_other_test_data_are_scored_again(tmp_path: Path) -> None:
    """No stage depends on them, a result does."""
    shapes.make_folder(tmp_path / "shapes")
    path, out = children.write_recipe(tmp_path / "tiny.toml"), tmp_path / "out"
    run(tmp_path, out, "both", "0", str(path))
    before = read(out / "both-seed0" / "result.json")
    next((tmp_path / "shapes" / "test").rglob("*.*")).unlink()
    run(tmp_path, out, "both", "0", str(path))
    after = read(out / "both-seed0" / "result.json")
    assert before.key == after.key
    assert before.base != after.base


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


@pytest.mark.parametrize("first", [False, True])
def test_pictures_of_another_size(
    first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a resize, before the extraction or behind it, all arms end in the same size."""
    shapes.make_folder(tmp_path / "shapes")
    extract = '[[steps]]\nkind = "extract"\n'
    behind = '[[steps]]\nkind = "finetune"\n'
    text = children.RECIPE.format(model="", search="alpha = 1.0\nbeta = 0.0")
    before = extract if first else behind
    path, out = tmp_path / "tiny.toml", tmp_path / "out"
    path.write_text(text.replace(before, TO_8 + before))
    scored = []
    evaluate = Birds.evaluate

    def seen(self: Birds, net: nn.Module, split: str) -> Quality:
        scored.append((split, self.settings.model.size))
        return evaluate(self, net, split)

    monkeypatch.setattr(Birds, "evaluate", seen)
    run(tmp_path, out, "both,cells-l1,scratch", "0", str(path))
    assert {size for split, size in scored if split == "test"} == {8}
    made = {
        arm: read(out / f"{arm}-seed0" / "result.json") for arm in ("both", "cells-l1", "scratch")
    }
    assert made["scratch"].macs == made["both"].macs
    # the child of 16 pixels, at 8 a quarter of it: a share of both sizes would leave far less
    whole = made["cells-l1"].child_macs / 4
    wanted = min(made["both"].macs, whole)
    assert 0.7 * wanted < made["cells-l1"].macs <= 1.01 * wanted


@pytest.mark.parametrize(
    ("table", "match"),
    [("[search]", r"has no \[search\]"), ('[[steps]]\nkind = "extract"', "that nothing takes up")],
)
def test_a_recipe_without_what_is_compared_is_refused(
    table: str, match: str, tmp_path: Path
) -> None:
    path = children.write_recipe(tmp_path / "tiny.toml")
    before, after = path.read_text().split(table)
    path.write_text(before + after[after.index("\n[") :])
    with pytest.raises(BadInputError, match=match):
        run(tmp_path, tmp_path / "out", "both,cells-l1", "0", str(path))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arm", ["cells-l1", "ratios", "scratch"])
def test_what_is_compared_with_the_method_needs_it(arm: str, tmp_path: Path) -> None:
    shapes.make_folder(tmp_path / "shapes")
    path = tmp_path / "tiny.toml"
    path.write_text(children.RECIPE.format(model="", search=""))
    with pytest.raises(BadInputError, match="run th"):
        run(tmp_path, tmp_path / "out", arm, "0", str(path))


def test_searches_of_all_arms_have_the_same_number_of_evaluations(tmp_path: Path) -> None:
    base = load(enas_bench.RECIPE)
    store(tmp_path, "both", 0, macs=4_000_000, validation=78.0)
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
        store(tmp_path, name, seed, macs=4_000_000, validation=78.0)
        return read(tmp_path / f"{name}-seed{seed}" / "result.json")

    monkeypatch.setattr(workers, "start", start)
    monkeypatch.setattr(enas_bench, "_run", arm)
    task = SimpleNamespace(make=lambda *_: None)
    monkeypatch.setattr(enas_bench, "tasks", SimpleNamespace(plugin=lambda *_: task))
    run(tmp_path, tmp_path, "both, random", "3, 5", ray="auto")
    assert made == [(["both", "random"], [3, 5])]
    lines = (tmp_path / "table.md").read_text().splitlines()[2:]
    assert [[line.split(" | ")[i].strip("| ") for i in (0, -1)] for line in lines] == [
        ["both", "2"],
        ["random", "2"],
    ]


def test_an_unknown_arm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no arm 'beta'; there are both"):
        run(tmp_path, tmp_path, arms="beta", seeds="0", recipe=enas_bench.RECIPE)


@pytest.mark.parametrize("seeds", ["a", "", "-1", "0,,1"])
def test_seeds_are_numbers(seeds: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="expected numbers"):
        enas_bench.run(tmp_path, tmp_path / "out", "both", seeds)
