"""Inf-CP as a recipe's step: interrupted, within its budget, and beside a training."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress import count, distributed, recipe, train
from compress.costs import COSTS
from compress.prune import Plan
from compress.stages import Context
from compress.stages import infcp as stage
from compress.steps import InfCp
from device.errors import BadInputError, FieldwrenError
from tests.compress import graphs, shapes

STEPS = """
[[steps]]
kind = "infcp"
ratio = 0.5
epochs = 2
lr = 0.02
window = 3
[[steps]]
kind = "finetune"
epochs = 1
lr = 0.01
[[steps]]
kind = "quantize"
scheme = "fp32"
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("infcp")
    shapes.make_folder(root / "shapes")
    text = shapes.write_recipe(root / "shapes.toml", epochs=1).read_text()
    head, rest = text.split("[[steps]]", 1)
    (root / "gates.toml").write_text(head + STEPS + "[gate]" + rest.split("[gate]", 1)[1])
    return root


def _context(root: Path, folder: Path) -> tuple[Context, nn.Module, InfCp]:
    path = root / "gates.toml"
    task = shapes.make_task(root, path)
    torch.manual_seed(0)
    net = task.build().eval()
    step = recipe.load(str(path)).steps[0]
    assert isinstance(step, InfCp)
    return Context(task, 0, task.example(), None, folder / "checkpoint.pt"), net, step


def test_an_interrupted_stage_ends_with_the_same_network(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, whole, step = _context(root, tmp_path / "whole")
    expected = stage.run(context, whole, step)
    context, net, step = _context(root, tmp_path / "stopped")
    task_batches = context.task.batches

    def batches(epoch: int, seed: int) -> object:
        if epoch == 1:
            raise InterruptedError
        return task_batches(epoch, seed)

    with monkeypatch.context() as patched:
        patched.setattr(context.task, "batches", batches)
        with pytest.raises(InterruptedError):
            stage.run(context, net, step)
    assert context.checkpoint.exists()
    context, net, step = _context(root, tmp_path / "stopped")
    resumed = stage.run(context, net, step)
    assert resumed.plan == expected.plan
    assert [entry.loss for entry in resumed.log] == [entry.loss for entry in expected.log]
    for name, value in whole.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


class Slowing:
    """Channels, by a clock that goes slower whenever a search begins."""

    searches = 0

    def __init__(self, subject: object) -> None:
        Slowing.searches += 1

    def predicted(self, plan: Plan) -> float:
        return Slowing.searches * float(sum(cut.kept for cut in plan.cuts))

    def measured(self, plan: Plan, net: nn.Module) -> float:
        return self.predicted(plan)


def test_a_measured_budget_is_that_of_the_beginning_when_it_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COSTS, "milliseconds", Slowing)
    monkeypatch.setattr(Slowing, "searches", 0)
    context, net, step = _context(root, tmp_path)
    step = step.model_copy(update={"ratio": None, "milliseconds": 80.0, "round_to": 1})
    first = stage.budgeted(context, net, step)
    assert 60 < sum(cut.kept for cut in first.cuts) <= 80
    assert stage.budgeted(context, net, step) == first
    assert Slowing.searches == 1


def test_the_first_process_writes_the_budget_once_all_have_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[bool] = []
    context, net, step = _context(root, tmp_path)
    path = context.checkpoint.with_name("budget.json")
    monkeypatch.setattr(distributed, "barrier", lambda: waited.append(path.exists()))
    monkeypatch.setattr(distributed, "first", lambda: False)
    found = stage.budgeted(context, net, step)
    assert not path.exists()
    monkeypatch.setattr(distributed, "first", lambda: True)
    assert stage.budgeted(context, net, step) == found
    assert stage.budgeted(context, net, step) == found
    assert waited == [False, False, True]
    path.write_text("damaged")
    assert stage.budgeted(context, net, step) == found


def test_what_cannot_be_pruned_is_refused_before_it_is_trained(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, _, step = _context(root, tmp_path)
    torch.manual_seed(0)
    net = graphs.Sequence(
        nn.Conv2d(3, 16, 3), nn.Sigmoid(), nn.Conv2d(16, 16, 3), nn.ReLU(), features=16
    ).eval()
    monkeypatch.setattr(stage, "tune", lambda *_, **__: pytest.fail("it was trained"))
    with pytest.raises(FieldwrenError, match=r'keep = \["layers\.0"\]'):
        stage.run(context, net, step)


def test_the_stage_meets_the_budget_and_the_proof(root: Path, tmp_path: Path) -> None:
    context, net, step = _context(root, tmp_path)
    before = count.macs(net, context.example)
    outcome = stage.run(context, net, step)
    assert outcome.plan is not None and outcome.mask_error is not None
    assert outcome.mask_error <= 1e-5
    assert all(cut.kept == cut.channels // 2 for cut in outcome.plan.cuts)
    assert count.macs(net, context.example) < 0.4 * before
    assert len(outcome.log) == 2
    assert [figure.y for figure in outcome.figures] == ["E", "f, of the group's mean"]
    for figure in outcome.figures:
        assert [series.name for series in figure.series] == [c.layer for c in outcome.plan.cuts]
        for series, made in zip(figure.series, outcome.plan.cuts, strict=True):
            assert len(series.x) == len(series.y) == made.channels
            assert list(series.y) == sorted(series.y)
    assert all(0 <= value <= 1 for series in outcome.figures[0].series for value in series.y)
    assert len({value for series in outcome.figures[1].series for value in series.y}) > 10


class Idle:
    """A companion that wants nothing."""

    def to(self, device: torch.device) -> None:
        self.device = device

    def loss(self) -> Tensor:
        return torch.zeros(())

    def step(self) -> None:
        self.steps = getattr(self, "steps", 0) + 1

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: dict[str, object]) -> None:
        assert state == {}


def test_an_idle_companion_changes_no_bit_of_the_training(root: Path, tmp_path: Path) -> None:
    ends, idle = [], Idle()
    for name, companion in (("alone", None), ("accompanied", idle)):
        context, net, step = _context(root, tmp_path / name)
        train.fit(
            context.task,
            net,
            step,
            seed=0,
            checkpoint=context.checkpoint,
            label=name,
            companion=companion,
        )
        ends.append(net.state_dict())
    assert idle.steps == 2 * context.task.steps()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_gates_do_not_grow_flatter(root: Path, tmp_path: Path) -> None:
    text = (root / "gates.toml").read_text()
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace("window = 3", "window = 3\nbeta_start = 5.0"))
    with pytest.raises(BadInputError, match="beta_start is above beta_end"):
        recipe.load(str(path))
    path.write_text(text.replace("window = 3", 'window = 3\nbeta_start = 5.0\nbeta = "automatic"'))
    recipe.load(str(path))


def test_gates_need_one_target(root: Path, tmp_path: Path) -> None:
    text = (root / "gates.toml").read_text()
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace("ratio = 0.5", "ratio = 0.5\nmacs = 0.5"))
    with pytest.raises(BadInputError, match="exactly one of ratio, macs"):
        recipe.load(str(path))
