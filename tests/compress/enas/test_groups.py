"""The ratio search over a fixed network: masks, sums and costs against the pruned network."""

import copy
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from compress import count, pipeline, prune
from compress.costs import Subject
from compress.enas.groups import Groups, Saving, Site, Ties, masked, watched
from compress.enas.ratios import RatioController
from compress.enas.search import search
from compress.recipe import load
from compress.stages import Context
from compress.stages import fake_prune as stage
from compress.steps import FakePrune
from compress.task import Deployed
from compress.tasks.birds import Birds
from compress.workers import InProcess
from device.errors import FieldwrenError
from models.resnet import ResNet
from tests.compress import graphs, patterns, shapes

STEP = FakePrune(
    kind="fake-prune",
    alpha=0.1,
    beta=2.0,
    controller_steps=20,
    samples=6,
    batch=6,
    epochs=3,
    finalists=3,
    round_to=1,
    precision="32-true",
)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Birds:
    root = tmp_path_factory.mktemp("groups")
    shapes.make_folder(root / "shapes")
    return shapes.make_task(root, shapes.write_recipe(root / "shapes.toml"))


@pytest.mark.parametrize("pattern", ["residual", "concat", "depthwise"])
def test_masks_and_costs_are_those_of_the_pruned_network(pattern: str) -> None:
    net = graphs.make(pattern).eval()
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ties = Ties.of(net, x[:1], [net.get_submodule("classifier")], 0)
    with torch.no_grad(), watched(net, ties) as sums:
        net(x)
    ratios = tuple(0.1 * (number % 8) for number in range(len(ties.cuts)))
    plan = ties.choose(sums, ratios, 1)
    with torch.no_grad(), masked(net, ties, plan):
        faked = net(x)
    small = prune.remove(copy.deepcopy(net), x[:1], plan)
    with torch.no_grad():
        assert torch.allclose(small(x), faked, atol=1e-4)
    share = 1 - count.macs(small, x[:1]) / count.macs(net, x[:1])
    groups = prune.Plan(cuts=ties.cuts)
    subject = Subject(net, x[:1], groups, lambda net: pytest.fail("needs no files"))
    saving = Saving.of("macs", subject).ratio(plan)
    assert saving == pytest.approx(len(ratios) * share, abs=1e-6)
    taken = sum(len(cut.removed) / cut.channels for cut in plan.cuts)
    assert Saving.of("sum", subject).ratio(plan) == pytest.approx(taken)
    assert taken == pytest.approx(sum(ratios), abs=0.05 * len(ratios))
    untouched = ties.choose(sums, (0.1,) * len(ratios), 64)  # rounding takes nothing
    assert Saving.of("sum", subject).ratio(untouched) == 0
    assert not net._forward_hooks


def test_a_groups_score_is_the_mean_of_its_maps_shares() -> None:
    """Σ|x_c| of one map 3, 1 (mean 2), of the other 8, 2 (mean 5), its channels the other way."""
    net = nn.Sequential(nn.Flatten(2), nn.Conv1d(2, 2, 1, groups=2, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([8 / 3, -2.0]).view(2, 1, 1))  # type: ignore[operator]
    one = prune.Scored("0", (), torch.zeros(2))
    sites = (Site(0, "0", (0, 1), (0, 1)), Site(0, "1", (0, 1), (1, 0)))
    x = torch.tensor([[[[1.0, -1.0]], [[0.0, 0.5]]], [[[0.5, 0.5]], [[-0.5, 0.0]]]])
    with torch.no_grad(), watched(net, Ties((one,), sites)) as sums:
        net(x)
        assert torch.allclose(sums[0], torch.tensor([1.5 + 0.4, 0.5 + 1.6]) / 2)
        net(2 * x)  # a brighter batch counts as much
    assert torch.allclose(sums[0], torch.tensor([1.9, 2.1]))


def test_counts_are_rounded_up() -> None:
    net = ResNet(8, 3)
    x = torch.randn(2, 3, 16, 16)
    ties = Ties.of(net, x[:1], [net.classifier], 0)
    sums = [torch.rand(cut.channels) for cut in ties.cuts]
    plan = ties.choose(sums, (0.8,) * len(sums), 8)
    assert all(cut.kept % 8 == 0 and cut.kept >= 0.2 * cut.channels for cut in plan.cuts)


def test_of_every_portion_of_a_split_a_channel_stays() -> None:
    net = patterns.shaken(patterns.SMALL["split by sizes"](16))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ties = Ties.of(net, x[:1], [net.get_submodule("classifier")], 0)
    sums = [torch.arange(float(cut.channels)) for cut in ties.cuts]
    (split,) = (number for number, one in enumerate(ties.scored) if one.portions)
    plan = ties.choose(sums, (0.5,) * len(sums), 1)
    # 16 channels, the first 4 of which are a portion: its largest sum is that of channel 3
    assert plan.cuts[split].removed == (0, 1, 2, 4, 5, 6, 7, 8)
    assert prune.proven(net, x[:1], plan) <= prune.AGREEMENT
    with torch.no_grad(), masked(net, ties, plan):
        faked = net(x)
    prune.remove(net, x[:1], plan)
    with torch.no_grad():
        assert torch.allclose(net(x), faked, atol=1e-4)


def test_of_channels_that_are_all_dead_the_first_stay() -> None:
    ties = Ties((prune.Scored("0", (), torch.zeros(6)),), ())
    plan = ties.choose([torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0, 1.0])], (0.5,), 1)
    assert plan.cuts[0].removed == (1, 3, 4)


def test_what_cannot_be_pruned_is_refused_before_it_is_searched(
    task: Birds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net = graphs.Sequence(
        nn.Conv2d(3, 16, 3), nn.Sigmoid(), nn.Conv2d(16, 16, 3), nn.ReLU(), features=16
    ).eval()
    monkeypatch.setattr(stage, "search", lambda *_, **__: pytest.fail("it was searched"))
    context = Context(task, 0, task.example(), None, tmp_path / "checkpoint.pt")
    with pytest.raises(FieldwrenError, match=r'keep = \["layers\.0"\]'):
        stage.run(context, net, STEP)


def test_the_controllers_start_is_the_seeds(
    task: Birds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an export, by which ratios are paid, draws from torch's generator."""

    class Drawing(Birds):
        def deploy(self, net: nn.Module) -> Deployed:
            torch.rand(7)
            return super().deploy(net)

    class Seen(RatioController):
        def __init__(self, groups: int) -> None:
            super().__init__(groups)
            starts.append(self.to_ratio.weight.detach().clone())

    starts: list[Tensor] = []
    monkeypatch.setattr(stage, "RatioController", Seen)
    drawing = copy.copy(task)
    drawing.__class__ = Drawing
    step = STEP.model_copy(
        update={"ratio": "bytes", "epochs": 1, "controller_steps": 1, "finalists": 1, "batches": 1}
    )
    context = Context(drawing, 5, task.example(), None, tmp_path / "checkpoint.pt")
    stage.run(context, graphs.make("chain"), step)
    torch.manual_seed(5)
    (start,) = starts
    groups = 2  # of a chain
    assert torch.equal(start, RatioController(groups).to_ratio.weight)


def test_the_controller_learns(task: Birds, tmp_path: Path) -> None:
    """The weights are fixed, so whatever the reward gains is the controller's."""
    torch.manual_seed(0)
    net = ResNet(8, 3, width=8, stride=2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(4):  # a network that has something to lose
        for batch in task.batches(epoch, 0):
            optimizer.zero_grad()
            task.loss(net.train(), batch, None).backward()
            optimizer.step()
    ties = Ties.of(net.eval(), task.example(), task.head(net), 0)
    space = Groups(task, net, ties, Saving(None), STEP, InProcess())
    torch.manual_seed(0)
    found = search(
        space,
        RatioController(len(ties.cuts)),
        STEP,
        epochs=STEP.epochs,
        seed=0,
        checkpoint=tmp_path / "checkpoint.pt",
    )
    assert found.evaluations == STEP.epochs * 20 * 6 + STEP.finalists * space.minibatches
    rewards = [row.reward for row in found.rows]
    quarter = len(rewards) // 4
    assert sum(rewards[-quarter:]) / quarter > sum(rewards[:quarter]) / quarter + 0.03
    gaps = [row.gap for row in found.rows]
    assert sum(gaps[:quarter]) / quarter < -0.05, "nothing to lose, nothing to learn"
    assert sum(gaps[-quarter:]) > sum(gaps[:quarter]) + 0.03 * quarter


def test_a_recipe_prunes_by_searched_ratios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step as recipes name it, interrupted after an epoch, ended, and taken from the store."""
    shapes.make_folder(tmp_path / "shapes", train=6, test=2)
    path = shapes.write_recipe(tmp_path / "shapes.toml")
    text = path.read_text().replace(
        'kind = "prune"\ncriterion = "l1"\nmacs = 0.5',
        'kind = "fake-prune"\nratio = "macs"\nepochs = 2\ncontroller_steps = 2\nsamples = 2\n'
        "batch = 3\nfinalists = 2\nround_to = 2\nbatches = 2",
    )
    path.write_text(text)
    task = shapes.make_task(tmp_path, path)

    def power_cut(space: Groups, epoch: int, draw: object) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(Groups, "train", power_cut)
        pipeline.train(load(str(path)), task, tmp_path / "out", 0, Console(quiet=True))
    checkpoint = tmp_path / "out" / "stages" / "01-fake-prune" / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)
    assert state["seconds"] > 0
    torch.save({**state, "seconds": 6000.0}, checkpoint)
    runs = [
        pipeline.train(load(str(path)), task, tmp_path / "out", 0, Console(quiet=True))
        for _ in range(2)
    ]
    baseline, pruned, _ = runs[0].records
    assert pruned.kind == "fake-prune"
    assert pruned.minutes > 100 > baseline.minutes
    assert pruned.macs < baseline.macs
    assert pruned.mask_error is not None and pruned.mask_error <= 1e-5
    assert pruned.plan is not None and all(cut.kept % 2 == 0 for cut in pruned.plan.cuts)
    assert len(pruned.figures) == 5
    first, second = (run.result.state_dict() for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_minibatches_go_through_the_whole_split_again_and_again(task: Birds) -> None:
    """7 validation photos, 3 a minibatch: two whole ones a pass, another order in the next."""
    count = task.minibatches(3)
    assert count == len(task.validation) // 3
    passes = []
    for start in (0, count):
        rows = [row for n in range(count) for row in task.minibatch(start + n, 3)[0]]
        assert len({row.numpy().tobytes() for row in rows}) == 3 * count
        passes.append(rows)
    again = task.minibatch(0, 3)
    assert torch.equal(again[0], torch.stack(passes[0][:3]))
    assert not torch.equal(torch.stack(passes[0]), torch.stack(passes[1]))
    right = torch.nn.functional.one_hot(again[1], 3).float()
    wrong = right.roll(1, 0) if again[1].unique().numel() > 1 else 1 - right
    assert task.grade(lambda x: right, again) == 1.0  # type: ignore[arg-type]
    assert task.grade(lambda x: wrong, again) < 1.0  # type: ignore[arg-type]
