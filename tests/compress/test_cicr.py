"""CICR: channels kept for one rate, and the bisection against what it stands for."""

import io
import json
import math
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from compress import cicr, count, prune, store
from compress.pipeline import train
from compress.recipe import load
from compress.stages import Context
from compress.stages import cicr as stage
from compress.steps import Cicr
from device.errors import FieldwrenError
from tests.compress import graphs, shapes

STEP = """
[[steps]]
kind = "cicr"
acc_loss = 40.0
interval = 0.2
round_to = 4
[steps.finetune]
epochs = 1
lr = 0.02
distil = true
"""
GATES = """
[[steps]]
kind = "infcp"
ratio = 0.25
round_to = 4
epochs = 1
lr = 0.02
window = 2
"""


def _scored(*scores: list[float]) -> list[prune.Scored]:
    return [
        prune.Scored(f"layer{index}", (f"layer{index}",), torch.tensor(values))
        for index, values in enumerate(scores)
    ]


def test_contributions_are_shares_of_their_layer() -> None:
    one, dead = cicr.contributions(_scored([1.0, 6.0, 3.0], [0.0, 0.0]))
    assert one.scores.tolist() == pytest.approx([0.1, 0.6, 0.3])
    assert dead.scores.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("bad", [-1e-3, math.nan, math.inf])
def test_scores_that_are_no_contributions_are_refused(bad: float) -> None:
    with pytest.raises(FieldwrenError, match=r"layer0: .* negative or not finite"):
        cicr.contributions(_scored([1.0, bad]))


@pytest.mark.parametrize(
    ("cr", "round_to", "kept"),
    [
        (0.0, 1, [1]),  # never empty
        (0.5, 1, [1]),
        (0.6, 1, [1]),  # reached, not passed
        (0.61, 1, [1, 3]),
        (0.9, 1, [1, 3]),
        (0.95, 1, [0, 1, 3]),
        (1.0, 1, [0, 1, 3]),  # channel 2 contributes nothing
        (0.5, 2, [1, 3]),
        (0.95, 2, [0, 1, 2, 3]),
        (1.0, 8, [0, 1, 2, 3]),
    ],
)
def test_the_largest_shares_are_kept_until_their_sum_reaches_the_rate(
    cr: float, round_to: int, kept: list[int]
) -> None:
    shares = torch.tensor([0.1, 0.6, 0.0, 0.3], dtype=torch.float64)
    assert cicr.keep(shares, cr, round_to).tolist() == kept


def test_keeping_is_the_shortest_prefix_of_the_ranking() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        raw = torch.rand(33, generator=generator) ** 4
        (group,) = cicr.contributions([prune.Scored("x", ("x",), raw)])
        cr = float(torch.rand((), generator=generator))
        kept = cicr.keep(group.scores, cr)
        smallest = group.scores[kept].min()
        assert float(group.scores[kept].sum()) >= cr - 1e-9
        assert float(group.scores[kept].sum() - smallest) < cr
        rest = [i for i in range(33) if i not in kept.tolist()]
        assert bool((group.scores[rest] <= smallest).all())


def test_plans_grow_with_the_rate() -> None:
    net = graphs.make("residual")
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    head = [net.get_submodule("classifier")]
    shares = cicr.contributions(prune.score_groups(net, x, head, "l1", 0))
    plans = [cicr.plan(shares, rate / 10) for rate in range(11)]
    for small, large in pairwise(plans):
        for one, other in zip(small.cuts, large.cuts, strict=True):
            assert set(other.removed) <= set(one.removed)
    assert all(cut.kept == 1 for cut in plans[0].cuts)
    assert all(cut.kept == cut.channels for cut in plans[-1].cuts)


def _literal(score: list[float], threshold: float) -> int | None:
    """Slow oracle: of all rates i / 128, the smallest from which on all are acceptable."""
    good = [i for i in range(1, len(score)) if all(s >= threshold for s in score[i:])]
    return min(good) if good and good[0] < len(score) - 1 else None


class Curve:
    """Scores that rise with the rate; `noise` by (rate, attempt)."""

    def __init__(self, needed: float, noise: dict[tuple[float, int], float] | None = None) -> None:
        self.needed, self.noise = needed, noise or {}

    def __call__(self, cr: float, attempt: int) -> cicr.Candidate:
        score = 90 + 10 * math.tanh(4 * (cr - self.needed)) + self.noise.get((cr, attempt), 0.0)
        return cicr.Candidate(score, int(1e6 * cr), int(1e5 * cr), 1.0)


@pytest.mark.parametrize("needed", [0.001, 0.3, 0.49999, 0.5, 0.77, 0.991])
def test_bisection_finds_what_trying_every_rate_finds(needed: float) -> None:
    curve = Curve(needed)
    found = cicr.search(curve, threshold=90.0, interval=0.01)
    every = [curve(i / 128, 0).score for i in range(129)]
    expected = _literal(every, 90.0)
    assert expected is not None
    assert found.cr == expected / 128
    assert len(found.probes) == 7
    assert [p.accepted for p in found.probes] == [p.score >= 90.0 for p in found.probes]


def test_no_acceptable_rate_means_the_original() -> None:
    found = cicr.search(Curve(1.5), threshold=90.0, interval=0.01)
    assert found.cr is None
    assert len(found.probes) == 7
    assert not any(probe.accepted for probe in found.probes)


@pytest.mark.parametrize(("interval", "probes"), [(0.5, 1), (0.2, 3), (0.1, 4), (0.01, 7)])
def test_the_interval_sets_the_number_of_probes(interval: float, probes: int) -> None:
    assert len(cicr.search(Curve(0.3), threshold=90.0, interval=interval).probes) == probes


@pytest.mark.parametrize("wrong", [-3.0, 3.0])
@pytest.mark.parametrize("cr", [0.5, 0.25, 0.375])
def test_a_wrong_decision_is_found_by_doubting_the_ends(cr: float, wrong: float) -> None:
    """Every rate on the way is judged wrongly once; the truth is at 0.4 or beyond it."""
    needed = {0.5: 0.45 if wrong < 0 else 0.55, 0.25: 0.2 if wrong < 0 else 0.3}.get(
        cr, 0.34 if wrong < 0 else 0.41
    )
    noisy = Curve(needed, {(cr, 0): wrong, (cr, 1): -wrong / 8})
    truth = cicr.search(Curve(needed), threshold=90.0, interval=0.01).cr
    fooled = cicr.search(noisy, threshold=90.0, interval=0.01)
    doubting = cicr.search(noisy, threshold=90.0, interval=0.01, margin=4.0)
    assert truth is not None and fooled.cr is not None and doubting.cr is not None
    assert abs(fooled.cr - truth) > 0.02
    assert abs(doubting.cr - truth) <= 0.01
    assert any(probe.cr == cr and probe.attempt == 1 for probe in doubting.probes)


def test_doubt_costs_two_probes_if_the_decisions_hold_and_none_far_from_the_threshold() -> None:
    assert len(cicr.search(Curve(0.3), 90.0, 0.01, margin=1.0).probes) == 9
    steep = {(i / 128, 0): 50.0 if i / 128 >= 0.3 else -50.0 for i in range(129)}
    assert len(cicr.search(Curve(0.3, steep), 90.0, 0.01, margin=1.0).probes) == 7


def test_no_rate_is_probed_more_than_twice_whatever_the_noise() -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(30):
        noise = {
            (i / 128, attempt): float(4 * torch.randn((), generator=generator))
            for i in range(129)
            for attempt in range(3)
        }
        found = cicr.search(Curve(0.4, noise), 90.0, 0.01, margin=10.0)
        tried = [(probe.cr, probe.attempt) for probe in found.probes]
        assert len(set(tried)) == len(tried)
        assert all(attempt < 2 for _, attempt in tried)


@pytest.mark.parametrize("width", [1, 2, 3, 7])
def test_probing_ahead_finds_what_probing_in_turn_finds(width: int) -> None:
    generator = torch.Generator().manual_seed(2)
    for _ in range(10):
        noise = {
            (i / 128, attempt): float(4 * torch.randn((), generator=generator))
            for i in range(129)
            for attempt in range(2)
        }
        curve, rounds = Curve(float(torch.rand((), generator=generator)), noise), 0
        in_turn = cicr.search(curve, 90.0, 0.01, margin=3.0)
        known: dict[cicr.Asked, cicr.Candidate] = {}
        while asked := cicr.ahead(known, 90.0, 0.01, 3.0, width):
            assert len(asked) <= width and not set(asked) & set(known)
            known.update({each: curve(*each) for each in asked})
            rounds += 1
        assert cicr.search(lambda *each: known[each], 90.0, 0.01, 3.0) == in_turn  # noqa: B023
        assert rounds <= len(in_turn.probes)
        if width >= 3:  # two steps of the bisection a round
            assert rounds <= math.ceil(len(in_turn.probes) / 2) + 2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cicr")
    shapes.make_folder(root / "shapes")
    whole = shapes.write_recipe(root / "shapes.toml", epochs=3).read_text()
    prune_step = '[[steps]]\nkind = "prune"\ncriterion = "l1"\nmacs = 0.5\n'
    assert prune_step in whole
    (root / "search.toml").write_text(whole.replace(prune_step, STEP))
    (root / "both.toml").write_text(whole.replace(prune_step, GATES + STEP))
    return root


def _context(root: Path, folder: Path) -> tuple[Context, torch.nn.Module, Cicr]:
    path = root / "search.toml"
    task = shapes.make_task(root, path)
    torch.manual_seed(0)
    net = task.build().eval()
    step = load(str(path)).steps[0]
    assert isinstance(step, Cicr)
    teacher = task.build().eval()
    return Context(task, 0, task.example(), teacher, folder / "checkpoint.pt"), net, step


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_killed_search_goes_on_and_ends_the_same(root: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.compress.interrupted_search", str(root), str(tmp_path), "2"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if "hanging" in line:
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "".join(seen)
    finished = sorted(path.parent.name for path in tmp_path.glob(f"probe-*/{store.RECORD}"))
    assert len(finished) == 2
    times = {name: (tmp_path / name / store.RECORD).stat().st_mtime_ns for name in finished}

    context, net, step = _context(root, tmp_path)
    resumed = stage.run(context, net, step)
    assert all(
        (tmp_path / name / store.RECORD).stat().st_mtime_ns == then for name, then in times.items()
    )
    context, other, step = _context(root, tmp_path / "whole")
    whole = stage.run(context, other, step)
    assert resumed.plan == whole.plan
    assert [p.score for p in resumed.probes] == [p.score for p in whole.probes]
    assert len(whole.probes) == 3
    assert _equal(net.state_dict(), other.state_dict())


def test_the_best_candidate_is_what_its_files_say(root: Path, tmp_path: Path) -> None:
    context, net, step = _context(root, tmp_path)
    before = count.macs(net, context.example)
    outcome = stage.run(context, net, step)
    accepted = [probe for probe in outcome.probes if probe.accepted]
    best = min(accepted, key=lambda probe: probe.cr)
    assert count.macs(net, context.example) == best.macs < before
    assert outcome.mask_error is not None and outcome.mask_error <= 1e-5
    folder = tmp_path / f"probe-{best.cr:.6f}-{best.attempt}"
    record = store.Record.model_validate_json((folder / store.RECORD).read_bytes())
    assert record.plan == outcome.plan
    assert _equal(net.state_dict(), torch.load(folder / store.STATE, weights_only=True))
    _, fresh, _ = _context(root, tmp_path)
    assert record.plan is not None
    prune.remove(fresh, context.example, record.plan)
    fresh.load_state_dict(torch.load(folder / store.STATE, weights_only=True))
    assert context.task.evaluate(fresh, "validation").value == best.score


def test_rates_with_one_plan_share_one_training(root: Path, tmp_path: Path) -> None:
    context, net, step = _context(root, tmp_path)
    coarse = step.model_copy(update={"round_to": 16, "interval": 0.05})
    outcome = stage.run(context, net, coarse)
    trained = list(tmp_path.glob(f"probe-*/{store.RECORD}"))
    assert len(outcome.probes) == 5
    assert len(trained) < 5
    assert sum(probe.seconds > 0 for probe in outcome.probes) == len(trained)


def test_a_recipe_with_both_searches_runs_through_the_command_line(root: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    environment["FIELDWREN_CACHE"] = str(root / "no-default-data")
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "compress", "run", "both.toml", "--data", "."]
    run = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    out = root / "runs" / "shapes-seed0"
    report = json.loads((out / "report.json").read_text())
    kinds = [entry["kind"] for entry in report["stages"]]
    assert kinds == ["baseline", "infcp", "cicr", "finetune"]
    whole, gates, search, _ = report["stages"]
    assert whole["macs"] > gates["macs"] > search["macs"]
    for pruned in (gates, search):
        assert pruned["mask_error"] <= 1e-5
    assert all(cut["channels"] * 3 == len(cut["removed"]) * 12 for cut in gates["plan"]["cuts"])
    plans = json.loads((out / "channels.json").read_text())
    assert plans == [gates["plan"], search["plan"]]
    assert [probe["attempt"] for probe in search["probes"]] == [0, 0, 0]
    page = (out / "report.html").read_text()
    assert page.count("<td>accepted</td>") + page.count("<td>refused</td>") == 3


def test_a_finished_search_is_reused(root: Path, tmp_path: Path) -> None:
    path = root / "search.toml"
    recipe, task, told = load(str(path)), shapes.make_task(root, path), io.StringIO()
    console = Console(file=told, soft_wrap=True)
    first = train(recipe, task, tmp_path, 0, console)
    assert "reused" not in told.getvalue()
    again = train(recipe, task, tmp_path, 0, console)
    assert told.getvalue().count("reused") == 3
    assert again.records == first.records
    assert len(again.records[1].probes) == 3
    assert _equal(again.result.state_dict(), first.result.state_dict())


def test_without_an_acceptable_candidate_the_network_stays_whole(
    root: Path, tmp_path: Path
) -> None:
    context, net, step = _context(root, tmp_path)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    impossible = step.model_copy(update={"acc_loss": -1000.0})
    outcome = stage.run(context, net, impossible)
    assert outcome.plan is not None and not any(cut.removed for cut in outcome.plan.cuts)
    assert not any(probe.accepted for probe in outcome.probes)
    assert _equal(net.state_dict(), state)


def test_a_doubted_rate_is_trained_anew_with_another_seed(root: Path, tmp_path: Path) -> None:
    context, net, step = _context(root, tmp_path)
    # every decision is within the margin of a hundred points, so the last two are doubted
    doubting = step.model_copy(update={"recheck": True, "acc_loss": 100.0})
    found = stage.Probes(context, net, doubting).search(threshold=50.0)
    again = [probe for probe in found.probes if probe.attempt == 1]
    assert again
    for probe in again:
        folders = [tmp_path / f"probe-{probe.cr:.6f}-{attempt}" for attempt in (0, 1)]
        one, other = (torch.load(f / store.STATE, weights_only=True) for f in folders)
        assert not _equal(one, other)
        records = [
            store.Record.model_validate_json((f / store.RECORD).read_bytes()) for f in folders
        ]
        assert records[0].plan == records[1].plan
