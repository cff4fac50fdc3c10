"""Criteria that look at data, against slow literal computations on small networks."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress import prune
from compress.criteria import hrank, influence, obd, taylor, thinet
from compress.criteria.filters import kernel, respond
from compress.statistics import Calibration
from tests.compress import fed, graphs, layers


def test_taylor_squares_the_sum_over_a_filter_of_each_batch() -> None:
    net = graphs.make("chain")
    layer = net.get_submodule("layers.1.conv")
    expected = np.zeros(32)
    for batch in fed.batches():
        g, w = fed.gradient(copy.deepcopy(net), batch, "layers.1.conv"), kernel(layer)
        for c in range(32):
            expected[c] += float((w[c] * g[c]).sum()) ** 2 / 3
    assert np.allclose(taylor.gather(fed.calibration(net), 0)[layer], expected, rtol=1e-3)


def test_taylor_is_the_derivative_by_a_factor_on_the_filter() -> None:
    net = graphs.make("chain").double()
    layer = net.get_submodule("layers.1.conv")
    batch = (fed.batches()[0][0].double(), fed.batches()[0][1])
    found = taylor.gather(Calibration(net, fed.loss, [batch]), 0)[layer]
    with torch.no_grad():
        losses = []
        for factor in (1 + 1e-5, 1 - 1e-5):
            scaled = copy.deepcopy(net)
            scaled.get_submodule("layers.1.conv").weight[5] *= factor  # type: ignore[index, operator]
            losses.append(float(fed.loss(scaled, batch)))
    assert float(found[5]) == pytest.approx(((losses[0] - losses[1]) / 2e-5) ** 2, rel=1e-4)


def test_obd_squares_the_gradient_of_each_example() -> None:
    net = graphs.make("chain")
    layer = net.get_submodule("layers.0.conv")
    expected = np.zeros(24)
    for pixels, labels in fed.batches():
        for one, label in zip(pixels, labels, strict=True):
            g = fed.gradient(copy.deepcopy(net), (one[None], label[None]), "layers.0.conv")
            for c in range(24):
                expected[c] += float((g[c] ** 2 * kernel(layer)[c] ** 2).sum()) / 2 / 18
    assert np.allclose(obd.gather(fed.calibration(net), 0)[layer], expected, rtol=1e-3)


def test_obd_stops_after_its_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    net = graphs.make("chain")
    monkeypatch.setattr(obd, "EXAMPLES", 8)
    batches = fed.batches()
    short = [batches[0], tuple(part[:2] for part in batches[1])]
    layer = net.get_submodule("layers.0.conv")
    expected = obd.gather(Calibration(net, fed.loss, short), 0)[layer]
    assert torch.equal(obd.gather(fed.calibration(net), 0)[layer], expected)


def test_influence_is_an_average_of_absolute_influences_that_forgets() -> None:
    net = graphs.make("chain")
    layer = net.get_submodule("layers.1.conv")
    e = np.zeros(32)
    for batch in fed.batches():
        g = fed.gradient(copy.deepcopy(net), batch, "layers.1.conv")
        e = 0.98 * e + 0.02 * (g * kernel(layer)).abs().sum((1, 2, 3)).numpy()
    assert np.allclose(influence.gather(fed.calibration(net), 0)[layer], e / e.mean(), rtol=1e-3)


def test_activation_is_the_mean_of_what_the_next_layer_reads() -> None:
    net = graphs.make("chain")
    with torch.no_grad():
        maps = torch.cat([net.get_submodule("layers.0")(pixels) for pixels, _ in fed.batches()])
    mean = maps.abs().mean((0, 2, 3))
    (scores,) = [g.scores for g in fed.scored(net, "activation") if g.layer == "layers.0.conv"]
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
        for pixels, _ in fed.batches():
            maps = norm(net.get_submodule("layers.0.conv")(pixels)).relu().numpy()
            for c in range(24):
                expected[c] += sum(np.linalg.matrix_rank(one[c]) for one in maps) / 18
    found = hrank.gather(fed.calibration(net), 0)[norm]
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
    calibration, scored = fed.calibration(net), fed.scored(net, "thinet")
    found = thinet.gather(calibration, 0)
    group = next(group for group in scored if "stem.conv" in group.members)
    gram = torch.zeros(16, 16, dtype=torch.float64)
    for reader in ("blocks.0.first.conv", "blocks.1.first.conv", "blocks.1.shortcut.conv"):
        x = found[net.get_submodule(reader)].double()
        gram += x @ x.T / x.sum(0).square().sum()
    places = torch.empty(16)
    places[thinet.removal_order(gram)] = torch.arange(1.0, 17)
    assert torch.equal(group.scores, places / 16)
