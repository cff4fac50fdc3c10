"""The table and figures of the architecture search's arms, from results as runs store them."""

import os
import shutil
from pathlib import Path

import pytest

from compress.figures import Figure, Series
from device.errors import BadInputError
from scripts.enas_bench import ARMS
from scripts.enas_table import CURVES, Result, _curve, read, write

STORED = Path(__file__).parents[2] / "benchmarks" / "results" / "cifar10-enas-16"


def store(
    out: Path,
    arm: str,
    seed: int,
    *,
    macs: int,
    validation: float,
    base: str | None = None,
    x: tuple[float, ...] = (10.0, 20.0),
) -> Path:
    """A run's result, as enas_bench.py stores it."""
    curves = tuple(
        Figure(
            title=title,
            x="evaluations",
            y="",
            series=(Series(name="y", x=x, y=(float(seed),) * (len(x) - 1) + (1.0,)),),
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
        evaluations=1000 * len(x),
        curves=curves,
        base=base,
    )
    folder = out / f"{arm}-seed{seed}"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(made.model_dump_json())
    return folder / "result.json"


def cells(line: str) -> list[str]:
    """Of a line of the table."""
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_every_arm_is_a_line_of_means_over_seeds(tmp_path: Path) -> None:
    store(tmp_path, "random", 0, macs=5_000_000, validation=70.0)
    store(tmp_path, "both", 0, macs=4_000_000, validation=78.0)
    store(tmp_path, "both", 1, macs=6_000_000, validation=80.0)
    lines = write(tmp_path, ARMS).splitlines()
    assert len(lines) == 4
    assert cells(lines[2]) == [
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


def test_results_of_another_recipe_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = store(tmp_path, "random", 0, macs=4_000_000, validation=50.0, base="old")
    unsaid = store(tmp_path, "both", 1, macs=4_000_000, validation=70.0)
    new = store(tmp_path, "both", 0, macs=4_000_000, validation=80.0, base="new")
    for when, path in enumerate((old, new, unsaid)):
        os.utime(path, (when, when))
    lines = write(tmp_path, ARMS).splitlines()[2:]
    assert [(cells(line)[0], cells(line)[5], cells(line)[-1]) for line in lines] == [
        ("both", "75.00 ± 7.07", "2")
    ]
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"left out: {old}: of another recipe or other data than {new}: run this arm again"
    ]
    os.utime(old, (9, 9))  # whoever goes back to the old recipe sees its results
    assert [cells(line)[0] for line in write(tmp_path, ARMS).splitlines()[2:]] == [
        "both",
        "random",
    ]
    assert f"left out: {new}" in capsys.readouterr().out


def test_results_of_before_are_still_shown(tmp_path: Path) -> None:
    """Those stored beside the benchmark's page have no field that says of which recipe they are."""
    for arm in ("both", "random", "cells-l1", "scratch"):
        (tmp_path / f"{arm}-seed0").mkdir()
        shutil.copy(STORED / f"{arm}-seed0.json", tmp_path / f"{arm}-seed0" / "result.json")
    lines = [cells(line) for line in write(tmp_path, ARMS).splitlines()[2:]]
    assert [(line[0], line[6], line[8]) for line in lines] == [
        ("both", "63.65", "2770"),
        ("random", "58.26", "2770"),
        ("cells-l1", "62.91", "2770"),
        ("scratch", "65.11", "0"),
    ]


def test_searches_of_different_length_go_as_far_as_the_shortest(tmp_path: Path) -> None:
    store(tmp_path, "both", 0, macs=4_000_000, validation=70.0, x=(1.0, 2.0))
    store(tmp_path, "both", 1, macs=4_000_000, validation=80.0, x=(3.0, 4.0, 5.0))
    [line] = write(tmp_path, ARMS).splitlines()[2:]
    assert cells(line)[8] == "2000–3000"
    runs = [read(tmp_path / f"both-seed{seed}" / "result.json") for seed in (0, 1)]
    curve = _curve("both", runs, CURVES[0])
    assert (curve.x, curve.y) == ((2.0, 3.0), (0.5, 1.0))


def test_a_result_of_another_version_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(tmp_path, "both", 0, macs=4_000_000, validation=78.0)
    store(tmp_path, "random", 0, macs=4_000_000, validation=70.0)
    path = tmp_path / "random-seed0" / "result.json"
    path.write_text(path.read_text().replace('"key"', '"old"'))
    assert write(tmp_path, ARMS).count("\n") == 3
    assert "random-seed0/result.json: of another version" in capsys.readouterr().out


def test_without_a_finished_run_there_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no finished run yet"):
        write(tmp_path, ARMS)
