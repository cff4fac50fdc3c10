"""The ratio search over a fixed network: masks, sums and costs against the pruned network."""

import copy
from pathlib import Path

import pytest
import torch

from compress import count, prune
from compress.enas.groups import Groups, Ties, masked, watched
from compress.enas.ratios import RatioController, UniformRatios
from compress.enas.search import search
from compress.steps import FakePrune
from compress.tasks.birds import Birds
from compress.workers import InProcess
from models.resnet import ResNet
from tests.compress import graphs, shapes

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
    assert ties.saved(plan) == pytest.approx(share, abs=1e-9)
    assert not net._forward_hooks


def test_counts_are_rounded_up() -> None:
    net = ResNet(8, 3)
    x = torch.randn(2, 3, 16, 16)
    ties = Ties.of(net, x[:1], [net.classifier], 0)
    sums = [torch.rand(cut.channels) for cut in ties.cuts]
    plan = ties.choose(sums, (0.8,) * len(sums), 8)
    assert all(cut.kept % 8 == 0 and cut.kept >= 0.2 * cut.channels for cut in plan.cuts)


def test_the_controller_learns(task: Birds, tmp_path: Path) -> None:
    """The weights are fixed, so whatever the reward gains is the controller's."""
    torch.manual_seed(0)
    net = ResNet(8, 3, width=8, stride=2)
    for batch in task.batches(0, 0):
        net.train()(batch[0])  # batch norm has statistics
    ties = Ties.of(net.eval(), task.example(), task.head(net), 0)
    space = Groups(task, net, ties, STEP, InProcess())
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
    chance = UniformRatios(len(ties.cuts)).sample(torch.Generator().manual_seed(0), 200)
    drawn = sum(map(sum, chance.choices)) / len(chance.choices)
    assert found.rows[-1].ratio > 1.1 * drawn > found.rows[0].ratio


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
