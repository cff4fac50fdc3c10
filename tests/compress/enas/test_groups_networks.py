"""Fake pruning of the networks that recipes use: a mask is what removal leaves."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from compress import count, pipeline, prune
from compress.costs import Subject
from compress.costs.milliseconds import Milliseconds
from compress.enas.groups import Saving, Ties, masked, watched
from compress.recipe import Recipe
from compress.tasks import enhancer
from compress.tasks.enhancer import Settings
from models.efficientnet_lite import EfficientNetLite0
from models.resnet import ResNet
from models.tcn import TCN
from models.tcn_bands import BandTCN, Block
from tests.compress import sounds

Made = tuple[nn.Module, Tensor, list[nn.Module]]


def lite() -> Made:
    net = EfficientNetLite0(5)
    return net, torch.randn(2, 3, 64, 64), [net.classifier]


def resnet() -> Made:
    net = ResNet(20, 10)
    return net, torch.randn(2, 3, 32, 32), [net.classifier]


def tcn() -> Made:
    net = TCN(257, 257, residual=32, hidden=48, dilations=(1, 2, 4))
    return net, torch.rand(2, 257, 40), [net.answer]


def bands() -> Made:
    net = BandTCN(channels=16, hidden=24, dilations=(1, 2), lookahead=1)
    whole = [net.windows, net.skip]  # and what joins the blocks, as in the recipe's keep
    for block in net.blocks:
        assert isinstance(block, Block)
        whole += [block.squeeze, block.take, block.unmix]
    return net, torch.rand(2, 257, 40), [net.answer, *whole]


@pytest.mark.parametrize("make", [lite, resnet, tcn, bands])
def test_masks_and_costs_are_those_of_the_pruned_network(make: Callable[[], Made]) -> None:
    torch.manual_seed(0)
    net, x, head = make()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # statistics of this very input
    with torch.no_grad():
        net.train()(x)
    net.eval()
    ties = Ties.of(net, x[:1], head, 0)
    with torch.no_grad(), watched(net, ties) as sums:
        whole = net(x)
    plan = ties.choose(sums, tuple(0.1 * (n % 8) for n in range(len(ties.cuts))), 1)
    with torch.no_grad(), masked(net, ties, plan):
        faked = net(x)
    small = prune.remove(copy.deepcopy(net), x[:1], plan)
    with torch.no_grad():
        assert torch.allclose(small(x), faked, atol=1e-4)
    assert not torch.allclose(whole, faked, atol=1e-4)
    share = 1 - count.macs(small, x[:1]) / count.macs(net, x[:1])
    subject = Subject(net, x[:1], prune.Plan(cuts=ties.cuts), lambda _: pytest.fail("no files"))
    saving = Saving.of("macs", subject).ratio(plan) / len(ties.cuts)
    assert saving == pytest.approx(share, abs=1e-6)


def test_a_recipe_searches_the_ratios_of_an_enhancer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewarded by SI-SDR on validation mixtures, paid in milliseconds of the exported frame; by a
    clock that a busy machine does not disturb."""

    def rounds(cost: Milliseconds, *nets: nn.Module) -> NDArray[np.float64]:
        real = timed(cost, *nets)
        return np.stack([np.full_like(real[0], count.parameters(net)) for net in nets])

    timed = Milliseconds._rounds
    monkeypatch.setattr(Milliseconds, "_rounds", rounds)
    folder = sounds.make_folder(tmp_path / "sounds")
    settings = Settings.model_validate(sounds.SMALL)
    table = {
        "name": "small",
        "task": "enhancer",
        "settings": settings,
        "text": "",
        "baseline": {"epochs": 2, "lr": 5e-3, "precision": "32-true"},
        "steps": [
            {
                "kind": "fake-prune",
                "ratio": "milliseconds",
                "epochs": 2,
                "controller_steps": 2,
                "samples": 3,
                "batch": 2,
                "finalists": 2,
                "round_to": 4,
                "batches": 2,
                "precision": "32-true",
            }
        ],
        "gate": {"max_drop": 100, "min_score": -100},
    }
    task = enhancer.make(settings, (folder,), 0)
    run = pipeline.train(
        Recipe.model_validate(table), task, tmp_path / "out", 0, Console(quiet=True)
    )
    baseline, pruned = run.records
    assert pruned.macs < baseline.macs
    assert pruned.mask_error is not None and pruned.mask_error <= 1e-5
    assert pruned.plan is not None and all(cut.kept % 4 == 0 for cut in pruned.plan.cuts)
    curves = {series.name: series.y for figure in pruned.figures for series in figure.series}
    assert np.isfinite([*curves["reward"], *curves["gap"], *curves["pruned"]]).all()
