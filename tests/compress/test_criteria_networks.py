"""What every criterion owes a network: dead channels go first, tied layers share a score."""

import copy

import numpy as np
import pytest
import torch
import torch_pruning as tp
from torch import nn

from compress import prune
from compress.criteria import CRITERIA, activation, hrank, influence, obd, taylor
from compress.statistics import Calibration
from device.errors import FieldwrenError
from models.tcn import TCN
from tests.compress import fed, graphs, patterns

PERMUTATIONS = [name for name in CRITERIA if name.startswith("permutation")]
DATA_DRIVEN = ["taylor", "obd", "activation", "hrank", "thinet", "influence", *PERMUTATIONS]


@pytest.mark.parametrize("criterion", DATA_DRIVEN)
@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_a_dead_channel_goes_first(name: str, criterion: str) -> None:
    net = graphs.make(name)
    graph = tp.DependencyGraph().build_dependency(net, torch.randn(1, 3, 16, 16))
    for module in net.modules():  # far from the size of fresh weights
        if isinstance(module, nn.Conv2d):
            with torch.no_grad():
                module.weight *= 5
    for group in graph.get_all_groups(ignored_layers=[net.get_submodule("classifier")]):
        for dependency, indices in group:
            if graph.is_out_channel_pruning_fn(dependency.handler):
                for parameter in dependency.target.module.parameters(recurse=False):
                    parameter.data[indices[2]] = 0
                if isinstance(dependency.target.module, nn.BatchNorm2d):
                    dependency.target.module.running_mean[indices[2]] = 0
    for scored in fed.scored(net, criterion):
        assert int(scored.scores.argmin()) == 2, scored.layer


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_same_seed_gives_the_same_scores(criterion: str) -> None:
    net = graphs.make("depthwise")
    for one, other in zip(
        fed.scored(net, criterion, 1), fed.scored(net, criterion, 1), strict=True
    ):
        assert torch.equal(one.scores, other.scores)
        assert len(one.scores) == net.get_submodule(one.layer).out_channels


@pytest.mark.parametrize("criterion", PERMUTATIONS)
def test_tied_layers_share_the_sum_of_their_contributions(criterion: str) -> None:
    net = graphs.make("residual")
    module = __import__(f"compress.criteria.{criterion.replace('-', '_')}", fromlist=["gather"])
    found = module.gather(fed.calibration(net), 0)
    for group in fed.scored(net, criterion):
        shares = [found[net.get_submodule(name)] for name in group.members]
        expected = sum(D / D.sum() for D in shares)
        assert torch.allclose(group.scores.double(), expected, rtol=1e-4)
        assert float(group.scores.sum()) == pytest.approx(len(group.members), rel=1e-4)


SHARES = {
    # what each layer found over its mean, and how the group's layers are put together
    "taylor": (taylor, "conv", np.mean),
    "obd": (obd, "conv", np.mean),
    "influence": (influence, "conv", np.sum),
    "hrank": (hrank, "norm", np.mean),
}


@pytest.mark.parametrize("criterion", SHARES)
def test_tied_layers_are_all_heard(criterion: str) -> None:
    module, kind, together = SHARES[criterion]
    net = graphs.make("residual")
    with torch.no_grad():
        net.get_submodule("blocks.0.second.conv").weight.mul_(9)  # the mean takes that out
    found = module.gather(fed.calibration(net), 0)
    scored = {len(group.members): group for group in fed.scored(net, criterion)}
    assert max(scored) > 1
    for group in scored.values():
        layers = [net.get_submodule(name.replace("conv", kind)) for name in group.members]
        values = [found[layer].numpy() for layer in layers]
        expected = together([own / own.mean() for own in values], axis=0)
        assert np.allclose(group.scores, expected, rtol=1e-4)


def test_activation_is_the_mean_over_all_readers() -> None:
    net = graphs.make("residual")
    found = activation.gather(fed.calibration(net), 0)
    readers = ("blocks.0.first.conv", "blocks.1.first.conv", "blocks.1.shortcut.conv")
    (group,) = (group for group in fed.scored(net, "activation") if "stem.conv" in group.members)
    values = [found[net.get_submodule(name)] for name in readers]
    expected = torch.stack([own / own.mean() for own in values]).mean(0)
    assert torch.allclose(group.scores.double(), expected, rtol=1e-4)


@pytest.mark.parametrize("name", patterns.SMALL)
def test_a_dead_channel_goes_first_in_every_pattern(name: str) -> None:
    torch.manual_seed(0)
    net = patterns.shaken(patterns.SMALL[name](16))
    x, head = torch.randn(1, 3, 16, 16), [net.get_submodule("classifier")]
    dead = prune.untouched(prune.score_groups(net, x, head, "random", 0))
    cuts = tuple(cut.model_copy(update={"removed": (2,)}) for cut in dead.cuts)
    prune.mask(net, x, prune.Plan(cuts=cuts))
    calibration = fed.calibration(net)
    heard = prune.score_groups(net, x, head, "activation", 0, calibration)
    alive = {group.layer: group.scores > 0 for group in heard}  # norms silence others, too
    assert all(int(own.sum()) > 2 and not own[2] for own in alive.values())
    for criterion in (*DATA_DRIVEN[:6], "permutation-expected"):
        for group in prune.score_groups(net, x, head, criterion, 0, calibration):
            before = group.scores < group.scores[2]
            assert not (before & alive[group.layer]).any(), (criterion, group.layer)
            assert bool(group.scores.isfinite().all()) and float(group.scores.std()) > 0


def test_measuring_leaves_the_network_as_it_was() -> None:
    net = graphs.make("residual").train()
    net.get_submodule("classifier").requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    for criterion in DATA_DRIVEN:
        fed.scored(net, criterion)
    assert all(torch.equal(net.state_dict()[key], before[key]) for key in before)
    assert all(module.training for module in net.modules())
    assert all(p.grad is None for p in net.parameters())
    assert not any(p.requires_grad for p in net.get_submodule("classifier").parameters())
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_temporal_networks_are_scored_too(criterion: str) -> None:
    torch.manual_seed(0)
    net = TCN(9, 9, residual=8, hidden=16, dilations=(1, 2)).eval()
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm1d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    x = torch.rand(4, 9, 20)
    calibration = Calibration(
        net, lambda net, batch: (net(batch[0]) - batch[0]).square().mean(), [(x,)]
    )
    scored = prune.score_groups(net, x[:1], [net.leave], criterion, 0, calibration)
    assert sorted(len(group.scores) for group in scored) == [8, 16, 16]
    for group in scored:
        assert bool(group.scores.isfinite().all())
        assert float(group.scores.min()) >= 0
        assert float(group.scores.std()) > 0


@pytest.mark.parametrize("again", [True, False])
def test_a_network_cut_after_measuring_is_measured_again_if_it_can_be(again: bool) -> None:
    net = graphs.make("chain")
    example, head = torch.randn(1, 3, 16, 16), [net.get_submodule("classifier")]
    batches = fed.batches()
    calibration = Calibration(net, fed.loss, batches if again else iter(batches))
    scored = prune.score_groups(net, example, head, "influence", 0, calibration)
    cuts = [
        prune.Cut(layer=g.layer, channels=len(g.scores), removed=(0,), members=()) for g in scored
    ]
    prune.remove(net, example, prune.Plan(cuts=tuple(cuts)))
    if not again:
        with pytest.raises(
            FieldwrenError, match=r"no calibration batches .* after layers were cut"
        ):
            prune.score_groups(net, example, head, "influence", 0, calibration)
        return
    second = prune.score_groups(net, example, head, "influence", 0, calibration)
    for one, fresh in zip(second, fed.scored(net, "influence"), strict=True):
        assert torch.equal(one.scores, fresh.scores)


def test_without_data_a_criterion_says_what_it_needs() -> None:
    net = graphs.make("chain")
    head = [net.get_submodule("classifier")]
    with pytest.raises(FieldwrenError, match="Statistics needs a calibration"):
        prune.score_groups(net, torch.randn(1, 3, 16, 16), head, "taylor", 0)


def test_batches_that_are_used_up_are_noticed() -> None:
    net = graphs.make("chain")
    calibration = Calibration(net, fed.loss, iter(fed.batches()))
    taylor.gather(calibration, 0)
    with pytest.raises(FieldwrenError, match="no calibration batches"):
        taylor.gather(calibration, 0)
