"""Least-squares repair: exact where it can be, better than recalibration where it cannot."""

import copy
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress import allocation, prune, repair
from compress.recalibration import recalibrate
from compress.stages import Context
from compress.stages import prune as stage
from compress.steps import Prune
from compress.task import Batch
from device.errors import BadInputError
from tests.compress import graphs, patterns, shapes


def _loss(net: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(net(batch[0]), batch[1])


def _batches(count: int = 4, size: int = 16) -> list[Batch]:
    generator = torch.Generator().manual_seed(5)
    found = []
    for _ in range(count):
        coarse = torch.randn(8, 3, 5, 5, generator=generator)
        images = F.interpolate(coarse, size=(size, size), mode="bicubic")
        found.append((images, torch.randint(4, (8,), generator=generator)))
    return found


def _plan(net: nn.Module, x: Tensor, share: float) -> prune.Plan:
    step = Prune(kind="prune", criterion="l1", ratio=share, round_to=1)
    return allocation.make_plan(net, x, [net.get_submodule("classifier")], step, 0)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 6, 3, stride=2, padding=1, dilation=2),
        nn.Conv2d(8, 12, (3, 1), padding="same", groups=4, bias=False),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, padding_mode="reflect"),
        nn.Conv1d(8, 6, 3, padding=2, dilation=2),
        nn.Linear(8, 6),
    ],
    ids=str,
)
def test_patches_times_weights_are_the_layers_answer(layer: repair.Layer) -> None:
    torch.manual_seed(0)
    extents = {nn.Conv2d: (11, 9), nn.Conv1d: (13,)}.get(type(layer))
    x = torch.randn(3, 8, *extents) if extents else torch.randn(3, 7, 8)
    y = repair._vectors(layer, layer(x))
    places = torch.randperm(len(y))[:20]
    patches = repair._patches(layer, x, places)
    groups = patches.shape[1]
    weights = layer.weight.view(groups, -1, patches.shape[2])
    found = torch.einsum("pgn,gon->pgo", patches, weights).flatten(1)
    if layer.bias is not None:
        found = found + layer.bias
    assert torch.allclose(found, y[places], atol=1e-5)


def test_copied_channels_are_made_up_for_exactly() -> None:
    """A layer whose every channel is there twice loses one of each: nothing is lost."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 3, padding=1)
    ).eval()
    with torch.no_grad():
        net[0].weight[4:], net[0].bias[4:] = 2 * net[0].weight[:4], 2 * net[0].bias[:4]
    x = _batches(1)[0][0][:1]
    cut = prune.Cut(layer="0", channels=8, removed=(0, 1, 2, 3), members=("0",))
    plan = prune.Plan(cuts=(cut,))
    pruned = prune.remove(copy.deepcopy(net), x, plan)
    before = float((pruned(x) - net(x)).detach().abs().max())
    repair.repair(pruned, net, x, plan, lambda n, b: n(b[0]), _batches())
    after = float((pruned(x) - net(x)).detach().abs().max())
    assert before > 0.05
    assert after < 0.01 * before


def test_the_fit_is_that_of_ordinary_least_squares_with_a_vanishing_ridge() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weights = torch.randn(600, 1, 6, generator=generator), torch.randn(4, 6, generator=generator)
    y = x[:, 0] @ weights.T + 3 + 0.01 * torch.randn(600, 4, generator=generator)
    layer = nn.Linear(6, 4)
    repair.fit(layer, [x[:500], x[500:]], [y[:500], y[500:]], centred=True)
    ones = torch.cat((x[:500, 0], torch.ones(500, 1)), 1)
    exact = torch.linalg.lstsq(ones, y[:500]).solution
    assert torch.allclose(layer.weight, exact[:6].T, atol=5e-3)
    assert torch.allclose(layer.bias, exact[6], atol=5e-3)


def test_weights_stay_where_the_fit_does_not_carry_over() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(40, 3, bias=False)
    before = layer.weight.detach().clone()
    x = [torch.randn(30, 1, 40, generator=generator) for _ in range(2)]
    y = [torch.randn(30, 3, generator=generator), x[1][:, 0] @ before.T]
    repair.fit(layer, x, y, centred=False)
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("name", ["residual", "depthwise", "concat"])
def test_repaired_networks_answer_more_like_the_original(name: str) -> None:
    net, batches = graphs.make(name), _batches()
    recalibrate(net, _loss, batches)  # statistics that belong to the weights
    x = batches[0][0][:1]
    plan = _plan(net, x, 0.25)
    pruned = prune.remove(copy.deepcopy(net), x, plan)
    repaired = copy.deepcopy(pruned)
    recalibrate(pruned, _loss, batches)
    repair.repair(repaired, net, x, plan, _loss, batches)
    with torch.no_grad():
        fresh = _batches(6)[5][0]
        wanted = net(fresh)
        errors = [float((other(fresh) - wanted).square().mean()) for other in (pruned, repaired)]
    assert errors[1] < 0.7 * errors[0]


class Summed(nn.Module):
    """A sum and activations behind their layers, which may overwrite what those said."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.stem, self.wide = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.back, self.act = nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(inplace=in_place)
        self.classifier = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        y: Tensor = self.back(self.act(self.wide(x)))
        if self.in_place:
            y += x
        else:
            y = y + x
        logits: Tensor = self.classifier(y.mean((2, 3)))
        return logits


def test_what_works_in_place_is_repaired_alike() -> None:
    batches, found = _batches(), []
    x = batches[0][0][:1]
    for in_place in (False, True):
        torch.manual_seed(0)
        net = Summed(in_place=in_place).eval()
        plan = _plan(net, x, 0.25)
        pruned = prune.remove(copy.deepcopy(net), x, plan)
        repair.repair(pruned, net, x, plan, _loss, batches)
        found.append(pruned.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


@pytest.mark.parametrize(
    ("between", "normed"),
    [(nn.Identity(), True), (nn.ReLU(), False), (nn.ReLU(inplace=True), False)],
    ids=str,
)
def test_a_norm_reads_a_layer_only_if_nothing_is_in_between(
    between: nn.Module, normed: bool
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), between, nn.BatchNorm2d(4))
    assert repair._order(net, lambda n, b: n(b[0]), _batches(1)[0]) == {"0": normed}


@pytest.mark.parametrize("name", ["chunk", "grouped", "transposed", "split by sizes", "flatten"])
def test_every_pattern_can_be_repaired(name: str) -> None:
    torch.manual_seed(0)
    net = patterns.shaken(patterns.SMALL[name](16))
    batches = _batches()
    x = batches[0][0][:1]
    plan = _plan(net, x, 0.25)
    pruned = prune.remove(copy.deepcopy(net), x, plan)
    before = {key: tuple(value.shape) for key, value in pruned.state_dict().items()}
    repair.repair(pruned, net, x, plan, _loss, batches)
    assert {key: tuple(value.shape) for key, value in pruned.state_dict().items()} == before
    assert not any(module.training for module in pruned.modules())
    with torch.no_grad():
        assert pruned(batches[0][0]).isfinite().all()


def _pooled() -> nn.Module:
    """A norm behind a global mean has one value a channel and example."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(8, 8, 1),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()


def test_a_batch_of_one_is_left_out_where_a_norm_finds_nothing_in_it() -> None:
    net, batches = _pooled(), _batches()
    x = batches[0][0][:1]
    single = [(images[:1], labels[:1]) for images, labels in batches]
    plan = prune.Plan(cuts=(prune.Cut(layer="0", channels=8, removed=(1,), members=()),))
    found = []
    for data in (batches, [*batches, single[0]]):
        pruned = prune.remove(copy.deepcopy(net), x, plan)
        repair.repair(pruned, net, x, plan, _loss, data)
        found.append(pruned.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    with pytest.raises(BadInputError, match="one example: give batches of two"):
        recalibrate(copy.deepcopy(net), _loss, single)
    with pytest.raises(BadInputError, match="give it two"):
        repair.repair(copy.deepcopy(net), net, x, plan, _loss, [batches[0], single[0]])


def test_a_recipe_can_ask_for_it(tmp_path: Path) -> None:
    shapes.make_folder(tmp_path / "shapes")
    task = shapes.make_task(tmp_path, shapes.write_recipe(tmp_path / "shapes.toml"))
    torch.manual_seed(0)
    net = task.build().eval()
    context = Context(task, 0, task.example(), None, tmp_path / "checkpoint.pt")
    plain, repaired = copy.deepcopy(net), copy.deepcopy(net)
    step = Prune(kind="prune", criterion="l1", ratio=0.25, round_to=1)
    recalibrate(net, lambda n, b: task.loss(n, b, None), list(islice(task.batches(0, 0), 4)))
    first = stage.run(context, plain, step)
    second = stage.run(context, repaired, step.model_copy(update={"repair": True}))
    assert first.plan == second.plan
    assert first.mask_error == second.mask_error
    assert not torch.equal(plain.classifier.weight, repaired.classifier.weight)


def test_batches_that_can_be_gone_through_once_are_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    batches: Any = ((torch.rand(2, 3, 5, 5),) for _ in range(2))
    for start in (
        lambda: recalibrate(net, lambda net, b: net(b[0]).sum(), batches),
        lambda: repair.repair(
            net, net, torch.rand(1, 3, 5, 5), prune.Plan(cuts=()), lambda n, b: n(b[0]), batches
        ),
    ):
        with pytest.raises(BadInputError, match=r"more than once.* list .* not a generator"):
            start()
