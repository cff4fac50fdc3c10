"""Criteria that look at data, against slow literal computations on small networks."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn

from compress import prune
from compress.criteria import CRITERIA, activation, hrank, influence, obd, taylor, thinet
from compress.criteria.filters import kernel, respond
from compress.statistics import Calibration
from compress.task import Batch
from device.errors import FieldwrenError
from models.tcn import TCN
from tests.compress import graphs, layers, patterns

PERMUTATIONS = [name for name in CRITERIA if name.startswith("permutation")]
DATA_DRIVEN = ["taylor", "obd", "activation", "hrank", "thinet", "influence", *PERMUTATIONS]


def _loss(net: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(net(batch[0]), batch[1])


def _batches() -> list[Batch]:
    randomness = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(6, 3, 16, 16, generator=randomness),
            torch.randint(4, (6,), generator=randomness),
        )
        for _ in range(3)
    ]


def _calibration(net: nn.Module) -> Calibration:
    return Calibration(net, _loss, _batches())


def _scored(net: nn.Module, criterion: str, seed: int = 0) -> list[prune.Scored]:
    head = [net.get_submodule("classifier")]
    example = torch.randn(1, 3, 16, 16)
    return prune.score_groups(net, example, head, criterion, seed, _calibration(net))


def _gradient(net: nn.Module, batch: Batch, layer: str) -> Tensor:
    net.zero_grad()
    _loss(net, batch).backward()
    gradient = net.get_submodule(layer).weight.grad
    assert isinstance(gradient, Tensor)
    return gradient.clone()


def test_taylor_squares_the_sum_over_a_filter_of_each_batch() -> None:
    net = graphs.make("chain")
    layer = net.get_submodule("layers.1.conv")
    expected = np.zeros(32)
    for batch in _batches():
        g, w = _gradient(copy.deepcopy(net), batch, "layers.1.conv"), kernel(layer)
        for c in range(32):
            expected[c] += float((w[c] * g[c]).sum()) ** 2 / 3
    assert np.allclose(taylor.gather(_calibration(net), 0)[layer], expected, rtol=1e-3)


def test_taylor_is_the_derivative_by_a_factor_on_the_filter() -> None:
    net = graphs.make("chain").double()
    layer = net.get_submodule("layers.1.conv")
    batch = (_batches()[0][0].double(), _batches()[0][1])
    found = taylor.gather(Calibration(net, _loss, [batch]), 0)[layer]
    with torch.no_grad():
        losses = []
        for factor in (1 + 1e-5, 1 - 1e-5):
            scaled = copy.deepcopy(net)
            scaled.get_submodule("layers.1.conv").weight[5] *= factor  # type: ignore[index, operator]
            losses.append(float(_loss(scaled, batch)))
    assert float(found[5]) == pytest.approx(((losses[0] - losses[1]) / 2e-5) ** 2, rel=1e-4)


def test_obd_squares_the_gradient_of_each_example() -> None:
    net = graphs.make("chain")
    layer = net.get_submodule("layers.0.conv")
    expected = np.zeros(24)
    for pixels, labels in _batches():
        for one, label in zip(pixels, labels, strict=True):
            g = _gradient(copy.deepcopy(net), (one[None], label[None]), "layers.0.conv")
            for c in range(24):
                expected[c] += float((g[c] ** 2 * kernel(layer)[c] ** 2).sum()) / 2 / 18
    assert np.allclose(obd.gather(_calibration(net), 0)[layer], expected, rtol=1e-3)


def test_obd_stops_after_its_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    net = graphs.make("chain")
    monkeypatch.setattr(obd, "EXAMPLES", 8)
    batches = _batches()
    short = [batches[0], tuple(part[:2] for part in batches[1])]
    layer = net.get_submodule("layers.0.conv")
    expected = obd.gather(Calibration(net, _loss, short), 0)[layer]
    assert torch.equal(obd.gather(_calibration(net), 0)[layer], expected)


def test_influence_is_an_average_of_absolute_influences_that_forgets() -> None:
    net = graphs.make("chain")
    layer = net.get_submodule("layers.1.conv")
    e = np.zeros(32)
    for batch in _batches():
        g = _gradient(copy.deepcopy(net), batch, "layers.1.conv")
        e = 0.98 * e + 0.02 * (g * kernel(layer)).abs().sum((1, 2, 3)).numpy()
    assert np.allclose(influence.gather(_calibration(net), 0)[layer], e / e.mean(), rtol=1e-3)


def test_activation_is_the_mean_of_what_the_next_layer_reads() -> None:
    net = graphs.make("chain")
    with torch.no_grad():
        maps = torch.cat([net.get_submodule("layers.0")(pixels) for pixels, _ in _batches()])
    mean = maps.abs().mean((0, 2, 3))
    (scores,) = [g.scores for g in _scored(net, "activation") if g.layer == "layers.0.conv"]
    assert torch.allclose(scores, mean / mean.mean(), rtol=1e-4)


def test_activation_counts_every_position_of_a_flattened_map() -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 2))
    calibration = Calibration(net, lambda net, batch: net(batch[0]).sum(), [_flat()])
    scores = prune.score_groups(net, _flat()[0], [net[3]], "activation", 0, calibration)[0].scores
    with torch.no_grad():
        mean = net[1](net[0](_flat()[0])).mean((0, 2, 3))
    assert torch.allclose(scores, mean / mean.mean(), rtol=1e-4)


def _flat() -> tuple[Tensor]:
    return (torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(5)),)


def test_hrank_is_the_mean_rank_of_the_norms_positive_part() -> None:
    net = graphs.make("chain")
    norm = net.get_submodule("layers.0.norm")
    nn.init.constant_(norm.bias[:12], -1.5)  # type: ignore[index, arg-type]
    expected = np.zeros(24)
    with torch.no_grad():
        for pixels, _ in _batches():
            maps = norm(net.get_submodule("layers.0.conv")(pixels)).relu().numpy()
            for c in range(24):
                expected[c] += sum(np.linalg.matrix_rank(one[c]) for one in maps) / 18
    found = hrank.gather(_calibration(net), 0)[norm]
    assert np.allclose(found, expected)
    assert float(found[:12].mean()) < float(found[12:].mean())


def test_hrank_of_sound_joins_the_examples_of_a_batch() -> None:
    net = nn.Sequential(nn.Conv1d(2, 3, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0], [0, 1], [0, 0]])[..., None])
    x = torch.rand(5, 2, 12) + 0.1
    x[:, 1] = x[0, 1]  # the second channel repeats itself
    found = hrank.gather(Calibration(net, lambda net, b: net(b[0]).sum(), [(x,)]), 0)
    assert found[net[0]].tolist() == [5, 1, 0]


@pytest.mark.parametrize("kind", layers.KINDS)
def test_contributions_of_inputs_add_up_to_the_output(kind: str) -> None:
    layer, x = layers.make(kind)
    axis = -1 if isinstance(layer, nn.Linear) else 1
    outputs = respond(layer, x, kernel(layer)).movedim(axis, 0).flatten(1)
    for o, output in enumerate(outputs):
        added = thinet.contributions(layer, x, o)
        assert torch.allclose(added.sum(0), output, atol=1e-4)
        silenced = x.movedim(axis, 0).clone()
        silenced[0] = 0
        without = respond(layer, silenced.movedim(0, axis), kernel(layer))
        without = without.movedim(axis, 0).flatten(1)[o]
        assert torch.allclose(output - without, added[0], atol=1e-4)


def test_thinet_removes_what_changes_the_next_layer_least() -> None:
    x = torch.randn(7, 50, generator=torch.Generator().manual_seed(0)).double()
    x[3] = -x[1] + 0.1 * x[3]  # alone important, together nearly nothing
    removed: list[int] = []
    while len(removed) < 7:  # the paper's algorithm, literally
        left = [c for c in range(7) if c not in removed]
        removed.append(min(left, key=lambda c: float(x[[*removed, c]].sum(0).square().sum())))
    assert thinet.removal_order(x @ x.T).tolist() == removed
    assert abs(removed.index(1) - removed.index(3)) == 1


def test_thinet_ranks_by_the_samples_of_all_readers() -> None:
    net = graphs.make("residual")
    calibration, scored = _calibration(net), _scored(net, "thinet")
    found = thinet.gather(calibration, 0)
    group = next(group for group in scored if "stem.conv" in group.members)
    gram = torch.zeros(16, 16, dtype=torch.float64)
    for reader in ("blocks.0.first.conv", "blocks.1.first.conv", "blocks.1.shortcut.conv"):
        x = found[net.get_submodule(reader)].double()
        gram += x @ x.T / x.sum(0).square().sum()
    places = torch.empty(16)
    places[thinet.removal_order(gram)] = torch.arange(1.0, 17)
    assert torch.equal(group.scores, places / 16)


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
    for scored in _scored(net, criterion):
        assert int(scored.scores.argmin()) == 2, scored.layer


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_same_seed_gives_the_same_scores(criterion: str) -> None:
    net = graphs.make("depthwise")
    for one, other in zip(_scored(net, criterion, 1), _scored(net, criterion, 1), strict=True):
        assert torch.equal(one.scores, other.scores)
        assert len(one.scores) == net.get_submodule(one.layer).out_channels


@pytest.mark.parametrize("criterion", PERMUTATIONS)
def test_tied_layers_share_the_sum_of_their_contributions(criterion: str) -> None:
    net = graphs.make("residual")
    module = __import__(f"compress.criteria.{criterion.replace('-', '_')}", fromlist=["gather"])
    found = module.gather(_calibration(net), 0)
    for group in _scored(net, criterion):
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
    found = module.gather(_calibration(net), 0)
    scored = {len(group.members): group for group in _scored(net, criterion)}
    assert max(scored) > 1
    for group in scored.values():
        layers = [net.get_submodule(name.replace("conv", kind)) for name in group.members]
        values = [found[layer].numpy() for layer in layers]
        expected = together([own / own.mean() for own in values], axis=0)
        assert np.allclose(group.scores, expected, rtol=1e-4)


def test_activation_is_the_mean_over_all_readers() -> None:
    net = graphs.make("residual")
    found = activation.gather(_calibration(net), 0)
    readers = ("blocks.0.first.conv", "blocks.1.first.conv", "blocks.1.shortcut.conv")
    (group,) = (group for group in _scored(net, "activation") if "stem.conv" in group.members)
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
    calibration = _calibration(net)
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
        _scored(net, criterion)
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


def test_a_network_cut_after_measuring_is_refused() -> None:
    net = graphs.make("chain")
    example, head = torch.randn(1, 3, 16, 16), [net.get_submodule("classifier")]
    calibration = _calibration(net)
    scored = prune.score_groups(net, example, head, "influence", 0, calibration)
    cuts = [
        prune.Cut(layer=g.layer, channels=len(g.scores), removed=(0,), members=()) for g in scored
    ]
    prune.remove(net, example, prune.Plan(cuts=tuple(cuts)))
    with pytest.raises(FieldwrenError, match=r"^layers\..\.conv: its channels were cut after"):
        prune.score_groups(net, example, head, "influence", 0, calibration)


def test_without_data_a_criterion_says_what_it_needs() -> None:
    net = graphs.make("chain")
    head = [net.get_submodule("classifier")]
    with pytest.raises(FieldwrenError, match="Statistics needs a calibration"):
        prune.score_groups(net, torch.randn(1, 3, 16, 16), head, "taylor", 0)


def test_batches_that_are_used_up_are_noticed() -> None:
    net = graphs.make("chain")
    calibration = Calibration(net, _loss, iter(_batches()))
    taylor.gather(calibration, 0)
    with pytest.raises(FieldwrenError, match="no calibration batches"):
        taylor.gather(calibration, 0)
