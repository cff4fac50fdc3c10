"""From a step to a plan: every policy with every budget on a real network and a real task."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress import allocation, prune
from compress.costs import COSTS
from compress.masked_loss import MaskedLoss
from compress.recipe import load
from compress.stages import Context
from compress.stages import prune as stage
from compress.statistics import Calibration
from compress.steps import Prune
from compress.task import Batch
from compress.tasks.birds import Birds
from device.errors import BadInputError, FieldwrenError
from tests.compress import shapes


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Birds:
    root = tmp_path_factory.mktemp("allocation")
    shapes.make_folder(root / "shapes")
    return shapes.make_task(root, shapes.write_recipe(root / "shapes.toml"))


@pytest.fixture(scope="module")
def net(task: Birds) -> nn.Module:
    torch.manual_seed(0)
    return task.build().eval()


def _decide(task: Birds, net: nn.Module, **table: object) -> allocation.Decision:
    step = Prune.model_validate({"kind": "prune", "criterion": "l1", "round_to": 2, **table})
    calibration = Calibration.of(task, net, 0)
    return allocation.decide(net, task.example(), task.head(net), step, 0, calibration, task.deploy)


@pytest.mark.parametrize("scope", ["uniform", "global", "per-cost", "sensitivity"])
@pytest.mark.parametrize("key", ["macs", "parameters"])
def test_shares_are_met_from_below(task: Birds, net: nn.Module, scope: str, key: str) -> None:
    decision = _decide(task, net, scope=scope, **{key: 0.6})
    spent = decision.spent
    assert spent.predicted == pytest.approx(spent.measured)
    assert 0.5 * spent.whole < spent.measured <= spent.allowed == pytest.approx(0.6 * spent.whole)
    titles = [figure.title.split(":")[0] for figure in decision.figures]
    assert titles == ["Sensitivity"] * (scope == "sensitivity") + ["Importance"]
    assert prune.difference(net, task.example(), decision.plan) < 1e-10


@pytest.mark.parametrize("scope", ["per-cost", "sensitivity"])
def test_a_ratio_is_a_budget_in_channels(task: Birds, net: nn.Module, scope: str) -> None:
    plan = _decide(task, net, scope=scope, ratio=0.5).plan
    left = sum(cut.kept for cut in plan.cuts) / sum(cut.channels for cut in plan.cuts)
    assert left == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"ratio": 0.2, "round_to": 64}, "ratio 0.2 is asked for, 0 of the channels go: .* = 64 "),
        ({"ratio": 0.8, "max_ratio": 0.5}, "ratio 0.8 is asked for, 0.5 of .* max_ratio = 0.5\n"),
        ({"ratio": 0.5}, None),
    ],
)
def test_a_ratio_that_rounding_changes_is_told(
    task: Birds,
    net: nn.Module,
    capsys: pytest.CaptureFixture[str],
    table: dict[str, object],
    said: str | None,
) -> None:
    _decide(task, net, **table)
    told = capsys.readouterr().out
    assert re.match(said, told) if said else told == ""


def test_bytes_of_the_file_are_met_from_below(task: Birds, net: nn.Module) -> None:
    budget = 150_000
    decision = _decide(task, net, bytes=budget)
    assert 0.6 * budget < decision.spent.measured <= budget < decision.spent.whole


def test_a_budget_that_is_met_already_is_told(
    task: Birds, net: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = _decide(task, net, bytes=10_000_000).plan
    assert not any(cut.removed for cut in plan.cuts)
    told = capsys.readouterr().out
    assert re.search(r"^bytes: the network costs .* as it is, 10,000,000 are allowed: no cha", told)
    _decide(task, net, bytes=120_000)
    assert "as it is" not in capsys.readouterr().out


def test_milliseconds_are_of_this_machine(task: Birds, net: nn.Module) -> None:
    whole = _decide(task, net, milliseconds=1e3).spent
    assert whole.measured <= 1e3 and whole.predicted == pytest.approx(whole.whole)
    with pytest.raises(FieldwrenError, match=r"^milliseconds: .*max_ratio"):
        _decide(task, net, milliseconds=1e-5)


class Fickle:
    """A cost whose measurement is a tenth above its prediction, as latencies can be."""

    def __init__(self, subject: object) -> None:
        self.measurements = 0

    def predicted(self, plan: prune.Plan) -> float:
        return float(sum(cut.kept for cut in plan.cuts))

    def measured(self, plan: prune.Plan, net: nn.Module) -> float:
        return 1.1 * self.predicted(plan)


def test_a_measured_cost_above_its_prediction_is_planned_again(
    task: Birds, net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COSTS, "milliseconds", Fickle)
    spent = _decide(task, net, milliseconds=100.0, round_to=1).spent
    assert spent.predicted <= 100 / 1.1
    assert 90 < spent.measured <= 100


@pytest.mark.parametrize(
    ("key", "advice"), [("milliseconds", "nothing else to do$"), ("macs", "ask for more$")]
)
def test_a_budget_that_no_plan_meets_is_refused(
    task: Birds, net: nn.Module, monkeypatch: pytest.MonkeyPatch, key: str, advice: str
) -> None:
    class Stubborn(Fickle):
        def measured(self, plan: prune.Plan, net: nn.Module) -> float:
            return 101.0 if key == "milliseconds" else 0.61 * sum(c.channels for c in plan.cuts)

    monkeypatch.setitem(COSTS, key, Stubborn)
    with pytest.raises(FieldwrenError, match=rf"^{key}: .* after 4 plans: .*{advice}"):
        _decide(task, net, **{key: 0.6 if key == "macs" else 100.0})


@pytest.mark.parametrize(
    ("table", "advice"),
    [
        ({"round_to": 8}, "round_to 8 allows .*: lower round_to or raise macs"),
        ({"round_to": 1, "max_ratio": 0.3}, "max_ratio 0.3 allows .*: raise max_ratio or macs"),
    ],
)
def test_what_keeps_a_budget_out_of_reach_is_named(table: dict[str, object], advice: str) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3)
    )
    step = Prune.model_validate({"kind": "prune", "criterion": "l1", "macs": 0.2, **table})
    with pytest.raises(FieldwrenError, match=advice):
        allocation.make_plan(net, torch.randn(1, 3, 9, 9), [net[4]], step, 0)


def test_files_that_do_not_exist_cannot_be_weighed(task: Birds, net: nn.Module) -> None:
    step = Prune(kind="prune", criterion="l1", bytes=10_000)
    with pytest.raises(FieldwrenError, match="exported file"):
        allocation.make_plan(net, task.example(), task.head(net), step, 0)


@pytest.mark.parametrize("extra", ["", "macs = 0.5\nbytes = 10000\n"])
def test_one_budget_is_asked_for(extra: str, tmp_path: Path) -> None:
    path = shapes.write_recipe(tmp_path / "shapes.toml")
    path.write_text(path.read_text().replace("macs = 0.5\n", extra))
    with pytest.raises(BadInputError, match=r"steps\.0\.prune: .*give exactly one of ratio, macs"):
        load(str(path))


def test_the_stage_records_what_was_spent_and_noise_changes_what_is_kept(
    task: Birds, net: nn.Module, tmp_path: Path
) -> None:
    context = Context(task, 0, task.example(), None, tmp_path / "checkpoint.pt")
    step = Prune(kind="prune", criterion="permutation-expected", macs=0.6, round_to=2)
    plans = []
    for calibration in ("training", "noise"):
        given = step.model_copy(update={"calibration": calibration})
        outcome = stage.run(context, copy.deepcopy(net), given)
        assert isinstance(outcome.structure, dict)
        assert outcome.structure["key"] == "macs"
        plans.append(outcome.plan)
    assert plans[0] != plans[1]


@pytest.mark.parametrize("scope", ["uniform", "sensitivity"])
def test_losses_are_never_measured_on_noise(
    task: Birds, net: nn.Module, tmp_path: Path, scope: str
) -> None:
    """L1 looks at no data, so that noise must change nothing."""
    context = Context(task, 0, task.example(), None, tmp_path / "checkpoint.pt")
    outcomes = [
        stage.run(
            context,
            copy.deepcopy(net),
            Prune(
                kind="prune",
                criterion="l1",
                scope=scope,  # type: ignore[arg-type]
                macs=0.6,
                calibration=calibration,
            ),
        )
        for calibration in ("training", "noise")
    ]
    assert outcomes[0].plan == outcomes[1].plan
    assert outcomes[0].figures == outcomes[1].figures


@pytest.mark.parametrize("rest", [[], [85]])
def test_a_last_part_of_one_example_is_left_out(rest: list[int]) -> None:
    """Of 256 images in batches of 85, one is left over; so it is of 171 examples in all."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)).eval()
    sizes = [85, 85, *rest, 1]
    batches = [(torch.randn(size, 8), torch.arange(size) % 4) for size in sizes]
    calibration = Calibration(net, _loss, batches)
    step = Prune(kind="prune", criterion="l1", scope="sensitivity", ratio=0.5, round_to=1)
    plan = allocation.make_plan(net, batches[0][0][:1], [net[3]], step, 0, calibration)
    assert [cut.kept for cut in plan.cuts] == [8]
    whole = prune.untouched(prune.score_groups(net, batches[0][0][:1], [net[3]], "l1", 0))
    fewer = Calibration(net, _loss, batches[:-1])
    losses = [MaskedLoss(net, batches[0][0], c)(whole) for c in (calibration, fewer)]
    assert losses[0] == losses[1]


def test_images_are_made_once_and_no_plan_is_measured_twice() -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    example = torch.randn(1, 8)
    made, asked = [], []

    def batches() -> Iterator[Batch]:
        made.append(1)
        yield torch.randn(32, 8), torch.arange(32) % 4

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        asked.append(1)
        return _loss(net, batch)

    measured = MaskedLoss(net, example, Calibration(net, loss, batches()))
    groups = prune.score_groups(net, example, [net[2]], "l1", 0)
    plans = [prune.Plan(cuts=(groups[0].cut(kept),)) for kept in (16, 8, 8)]
    found = [measured(plan) for plan in plans]
    assert found[0] != found[1] == found[2]
    assert (len(made), len(asked)) == (1, 2)  # there is no norm to recalibrate


def _loss(net: nn.Module, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(net(batch[0]), batch[1])


def test_noise_has_the_images_mean_and_deviation_and_is_the_same_again(
    task: Birds, net: nn.Module
) -> None:
    plain = list(Calibration.of(task, net, 0).batches())
    noise = list(Calibration.of(task, net, 0, noise=True).batches())
    again = list(Calibration.of(task, net, 0, noise=True).batches())
    for one, other, same in zip(plain, noise, again, strict=True):
        assert torch.equal(one[1], other[1])
        assert torch.equal(other[0], same[0])
        assert other[0].mean() == pytest.approx(float(one[0].mean()), abs=0.02)
        assert other[0].std() == pytest.approx(float(one[0].std()), rel=0.05)
        correlation = torch.corrcoef(torch.stack((one[0].flatten(), other[0].flatten())))[0, 1]
        assert abs(float(correlation)) < 0.1
