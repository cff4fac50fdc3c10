"""NetAdapt: plans of plans, and the step it takes."""

import copy
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compress import count, netadapt, prune
from compress.costs import COSTS
from compress.stages import netadapt as stage
from compress.steps import NetAdapt
from compress.store import Record
from compress.task import Quality
from compress.workers import InProcess
from compress.workers.base import Item, Result
from device.errors import FieldwrenError
from tests.compress import graphs, patterns, shapes
from tests.compress.adapted import context_in, made_step


def _group(layer: str, *scores: float) -> prune.Scored:
    return prune.Scored(layer, (layer,), torch.tensor(scores))


def test_cuts_of_cuts_are_one_plan_for_the_original() -> None:
    groups = (_group("a", 5, 1, 3, 2, 4, 0), _group("b", 1, 2))
    kept = netadapt.everything(groups)
    first = groups[0].cut(4)
    assert first.removed == (1, 5)
    kept = netadapt.after(kept, first)
    assert kept["a"] == (0, 2, 3, 4)
    second = _group("a", 1, 9, 9, 0).cut(2)  # scored anew: positions 3 and 0 go
    kept = netadapt.after(kept, second)
    assert kept["a"] == (2, 3)
    whole = netadapt.plan(groups, kept)
    assert [(cut.layer, cut.channels, cut.removed) for cut in whole.cuts] == [
        ("a", 6, (0, 1, 4, 5)),
        ("b", 2, ()),
    ]


def test_the_first_proof_leaves_every_portion_of_a_split_a_channel() -> None:
    net = patterns.shaken(patterns.SMALL["split by sizes"](4))  # one portion is a single channel
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    groups = [
        replace(group, scores=-torch.arange(float(len(group.scores))))  # the first one is best
        for group in prune.score_groups(net, x, [net.get_submodule("classifier")], "l1", 0)
    ]
    assert any(frozenset((0,)) in group.portions for group in groups)
    plan = netadapt.one_of_each(groups)
    assert all(cut.kept == cut.channels - 1 for cut in plan.cuts)
    prune.proven(net, x, plan)


@pytest.mark.parametrize(("target", "expected"), [(100, 8), (50, 5), (49, 4), (9, None)])
def test_no_more_is_cut_than_the_step_asks(target: float, expected: int | None) -> None:
    assert netadapt.enough([2, 5, 8, 4, 1], lambda k: 10.0 * k, target) == expected


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("netadapt")
    shapes.make_folder(root / "shapes")
    shapes.write_recipe(root / "shapes.toml")
    return root


class Noting(InProcess):
    """Workers that write down what they are given."""

    asked: list[list[Any]]

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "asked", [])

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        given = list(items)
        self.asked.append(given)
        return super().map(function, given)


def test_the_budget_is_met_from_below_by_the_best_of_all_groups(root: Path, tmp_path: Path) -> None:
    context, net = context_in(root, tmp_path)
    original = copy.deepcopy(net)
    workers = Noting()
    outcome = stage.run(replace(context, workers=workers), net, made_step())
    assert outcome.plan is not None and outcome.mask_error is not None
    assert outcome.mask_error < 1e-5
    share = count.macs(net, context.example) / count.macs(original, context.example)
    assert 0.55 < share <= 0.7
    structure = outcome.structure
    assert isinstance(structure, dict)
    log = [stage.Iteration.model_validate(one) for one in structure["iterations"]]
    assert len(log) >= 2
    assert [one.cost for one in log] == sorted((one.cost for one in log), reverse=True)
    assert structure["spent"]["measured"] == count.macs(net, context.example)
    assert log[0].tried > 3
    assert [figure.title.split(":")[0] for figure in outcome.figures] == ["NetAdapt", "Importance"]
    curves = {series.name for series in outcome.figures[1].series}
    assert curves == {made.layer for made in outcome.plan.cuts}
    # the first choice, made again by hand
    search = stage.Search(context, original, made_step())
    target = search.whole * 0.85
    scores = {one.cut.layer: one.score for one in search.tried(search._candidates(target))}
    assert log[0].score == max(scores.values()) == scores[log[0].layer]
    assert [len(each) for each in workers.asked] == [one.tried for one in log]
    # a stored record gives a fresh network the same shapes
    fresh = context_in(root, tmp_path)[1]
    record = Record(
        key="", kind="netadapt", seconds=0, plan=outcome.plan, macs=0, parameters=0,
        primary="top1", validation={},
    )  # fmt: skip
    stage.rebuild(fresh, context.example, record)
    fresh.load_state_dict(net.state_dict())


def test_candidates_are_trained_where_the_recipe_says_so(root: Path, tmp_path: Path) -> None:
    context, net = context_in(root, tmp_path)
    before = copy.deepcopy(net)
    step = made_step(macs=0.9, finetune={"epochs": 1, "lr": 0.02})
    outcome = stage.run(context, net, step)
    pruned = prune.remove(before, context.example, outcome.plan)
    assert not torch.equal(pruned.classifier.weight, net.classifier.weight)
    assert not list(tmp_path.glob("candidate*"))


class Fickle:
    """Counted channels, whose measurement is a tenth more and grows whenever it is repeated."""

    def __init__(self, subject: object) -> None:
        self.measurements = 0

    def predicted(self, plan: prune.Plan) -> float:
        return float(sum(cut.kept for cut in plan.cuts))

    def measured(self, plan: prune.Plan, net: torch.nn.Module) -> float:
        self.measurements += 1
        return (1.1 + 0.01 * self.measurements) * self.predicted(plan)


def test_it_goes_on_while_the_measurement_is_over_the_budget(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COSTS, "milliseconds", Fickle)
    context, net = context_in(root, tmp_path)
    channels = sum(len(group.scores) for group in stage.Search(context, net, made_step()).groups)
    budget = 0.8 * channels
    outcome = stage.run(context, net, made_step(macs=None, milliseconds=budget))
    assert isinstance(outcome.structure, dict)
    spent = outcome.structure["spent"]
    assert spent["predicted"] <= budget / 1.1
    assert 1.1 * spent["predicted"] < spent["measured"] <= budget


def _separable(groups: int) -> nn.Module:
    torch.manual_seed(0)
    layers = (
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=groups), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
    )
    net = graphs.Sequence(*layers, features=16)
    net.classifier = nn.Linear(16, 3)
    return net.eval()


@pytest.mark.parametrize(("groups", "left"), [(8, 2), (4, 8)])
def test_convolutions_in_groups_stay_what_they_are(
    groups: int, left: int, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, _ = context_in(root, tmp_path)

    def greedy(net: nn.Module, split: str) -> Quality:
        """The candidate with the fewest filters in groups is the best."""
        return Quality("top1", {"top1": -float(net.get_submodule("layers.1.0").out_channels)})

    monkeypatch.setattr(context.task, "evaluate", greedy)
    net = _separable(groups)
    stage.run(context, net, made_step(macs=0.3, gain=0.03, round_to=1))
    assert net.get_submodule("layers.1.0").out_channels == left  # two filters a group


def test_what_cannot_be_pruned_is_refused_before_it_is_trained(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, _ = context_in(root, tmp_path)
    torch.manual_seed(0)
    net = graphs.Sequence(
        nn.Conv2d(3, 16, 3), nn.Sigmoid(), nn.Conv2d(16, 16, 3), nn.ReLU(), features=16
    ).eval()
    monkeypatch.setattr(context.task, "evaluate", lambda *_: pytest.fail("it was searched"))
    with pytest.raises(FieldwrenError, match=r'keep = \["layers\.0"\]'):
        stage.run(context, net, made_step())


def test_a_budget_that_is_met_already_is_told(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context, net = context_in(root, tmp_path)
    step = NetAdapt.model_validate({"kind": "netadapt", "bytes": 10_000_000, "round_to": 2})
    outcome = stage.run(context, net, step)
    assert outcome.plan is not None and not any(cut.removed for cut in outcome.plan.cuts)
    assert "as it is, 10,000,000 are allowed: no channel goes" in capsys.readouterr().out


def test_out_of_reach_says_what_was_still_to_be_saved(root: Path, tmp_path: Path) -> None:
    context, net = context_in(root, tmp_path)
    step = made_step(macs=0.7, gain=0.9, max_ratio=0.05)
    missing = re.escape(f"{0.3 * stage.Search(context, net, step).whole:,.5g}")
    with pytest.raises(FieldwrenError, match=f"^macs: no group can save {missing} more"):
        stage.run(context, net, step)


def test_out_of_reach_is_said(root: Path, tmp_path: Path) -> None:
    context, net = context_in(root, tmp_path)
    with pytest.raises(
        FieldwrenError, match=r"^macs: no group can save .*: raise max_ratio or macs"
    ):
        stage.run(context, net, made_step(macs=0.3, max_ratio=0.25))
