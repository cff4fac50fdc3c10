"""Channel plans: removal computes what masking computes, on every graph pattern."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn

from compress import count, prune
from compress.criteria import CRITERIA
from compress.criteria.base import Statistics
from compress.statistics import Calibration
from device.errors import FieldwrenError
from tests.compress import graphs, real
from tests.compress import patterns as small
from tests.compress.planned import batches, images, loss, planned, step


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_masked_equals_removed(name: str, criterion: str) -> None:
    net = graphs.make(name)
    plan = planned(net, step(criterion=criterion))
    masked = prune.mask(copy.deepcopy(net), images(), plan)
    removed = prune.remove(copy.deepcopy(net), images(), plan)
    x = real.photos(16)
    with torch.no_grad():
        whole, one, other = net(x), masked(x), removed(x)
    assert torch.allclose(one, other, atol=1e-5, rtol=0)
    assert not torch.allclose(one, whole, atol=1e-4, rtol=0)
    assert count.parameters(removed) < 0.6 * count.parameters(net)
    assert prune.difference(net, x, plan) < 1e-10


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_every_group_keeps_a_multiple_and_the_answer_keeps_its_size(name: str) -> None:
    net = graphs.make(name)
    plan = planned(net, step(round_to=8))
    assert plan.cuts
    assert all(cut.kept % 8 == 0 or cut.kept == cut.channels for cut in plan.cuts)
    assert all("classifier" not in cut.members for cut in plan.cuts)
    assert prune.remove(net, images(), plan)(images()).shape == (2, 4)


@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_a_target_in_macs_is_met_from_below(scope: str) -> None:
    net = graphs.make("depthwise")
    whole = count.macs(net, images())
    plan = planned(net, step(ratio=None, macs=0.6, scope=scope, round_to=1))
    left = count.macs(prune.remove(net, images(), plan), images())
    assert 0.57 * whole < left <= 0.6 * whole


def test_a_target_out_of_reach_is_said() -> None:
    with pytest.raises(FieldwrenError, match="raise max_ratio or macs"):
        planned(graphs.make("chain"), step(ratio=None, macs=0.1, max_ratio=0.3))


def test_global_scope_takes_more_from_groups_with_low_scores() -> None:
    net = graphs.make("chain")
    convolution = net.get_submodule("layers.0.conv")
    with torch.no_grad():
        convolution.weight[:18] *= 1e-3  # 18 of 24 channels are next to nothing
    cuts = {cut.layer: cut for cut in planned(net, step(ratio=0.3, scope="global")).cuts}
    assert cuts["layers.0.conv"].kept == 8
    assert set(cuts["layers.0.conv"].removed) <= set(range(18))
    assert cuts["layers.1.conv"].kept == 32


def test_a_stored_plan_fits_a_fresh_network() -> None:
    net = graphs.make("residual")
    plan = planned(net, step())
    stored = prune.Plan.model_validate_json(plan.model_dump_json())
    pruned = prune.remove(copy.deepcopy(net), images(), plan)
    fresh = prune.remove(graphs.make("residual"), images(), stored)
    fresh.load_state_dict(pruned.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh(images()), pruned(images()))


def test_a_plan_for_another_network_is_refused() -> None:
    plan = prune.Plan(
        cuts=(prune.Cut(layer="layers.0.conv", channels=99, removed=(98,), members=()),)
    )
    with pytest.raises(FieldwrenError, match=r"another network: layers\.0\.conv has 24 .* 99 "):
        prune.remove(graphs.make("chain"), images(), plan)


@pytest.mark.parametrize("layer", ["nowhere", "layers", "layers.0.norm"])
def test_a_plan_for_layers_that_are_not_there_is_refused(layer: str) -> None:
    plan = prune.Plan(cuts=(prune.Cut(layer=layer, channels=24, removed=(1,), members=()),))
    for use in (prune.remove, prune.mask, prune.proven, prune.whole_groups):
        with pytest.raises(FieldwrenError, match=f"another network: no layer {layer} here"):
            use(graphs.make("chain"), images(), plan)


@pytest.mark.parametrize("removed", [(1, 1), (-1,), (1, 99), tuple(range(16))])
def test_cuts_that_cannot_be_are_refused(removed: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"a: of its channels 0 to 15 each .* one must stay"):
        prune.Cut(layer="a", channels=16, removed=removed, members=())


def test_a_block_that_is_kept_keeps_all_its_layers() -> None:
    net = graphs.make("residual")
    head = [net.get_submodule(name) for name in ("blocks.0", "classifier")]
    found = {group.layer for group in prune.score_groups(net, images(), head, "l1", 0)}
    assert not any(layer.startswith(("blocks.0", "stem")) for layer in found)
    assert {"blocks.1.first.conv", "blocks.2.first.conv"} < found


def test_l1_is_the_mean_over_layers_of_normalised_filter_norms() -> None:
    net = graphs.make("residual")
    scored = prune.score_groups(net, images(), [net.get_submodule("classifier")], "l1", 0)
    group = next(group for group in scored if len(group.members) > 1)
    expected = np.zeros(len(group.scores))
    for name in group.members:
        norms = [float(w.abs().sum()) for w in net.get_submodule(name).weight.detach()]
        expected += np.array(norms) / np.mean(norms) / len(group.members)
    assert np.allclose(group.scores, expected, rtol=1e-5)


def test_random_scores_depend_on_the_seed_and_the_layer_only() -> None:
    net = graphs.make("chain")
    head = [net.get_submodule("classifier")]

    def scores(seed: int) -> list[list[float]]:
        found = prune.score_groups(net, images(), head, "random", seed)
        return [group.scores.tolist() for group in found]

    assert scores(1) == scores(1)
    assert scores(1) != scores(2)
    assert scores(1)[0][:5] != scores(1)[1][:5]


def _pruner(net: nn.Module, criterion: str, iterative_steps: int = 1) -> tp.pruner.BasePruner:
    """torch_pruning's own, with one of our criteria."""
    importance = partial(
        CRITERIA[criterion], statistics=Statistics(0, Calibration(net, loss, batches()))
    )
    return tp.pruner.BasePruner(
        net,
        images(),
        importance=importance,
        pruning_ratio=0.5,
        iterative_steps=iterative_steps,
        ignored_layers=[net.get_submodule("classifier")],
    )


@pytest.mark.parametrize("criterion", CRITERIA)
def test_criteria_serve_torch_pruning(criterion: str) -> None:
    net = graphs.make("residual")
    before = count.parameters(net)
    pruner = _pruner(net, criterion)
    pruner.step()
    assert count.parameters(net) < 0.4 * before


@pytest.mark.parametrize("criterion", ["influence", "activation", "hrank"])
def test_what_was_measured_is_measured_again_at_torch_prunings_next_step(criterion: str) -> None:
    net = graphs.make("residual")
    pruner = _pruner(net, criterion, iterative_steps=2)
    sizes = []
    for _ in range(2):
        pruner.step()
        sizes.append(net.get_submodule("stem.conv").out_channels)
    assert sizes == [12, 8]
    assert net(images()).shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "criterion", "layer"),
    [
        ("split by sizes", "thinet", "body.small.conv"),
        ("split by sizes", "activation", "body.small.conv"),
        ("partial", "l1", "body.spread.conv"),  # which torch_pruning's cannot do in any order
    ],
)
def test_portions_that_torch_prunings_own_mix_up_are_refused_and_can_be_planned(
    name: str, criterion: str, layer: str
) -> None:
    torch.manual_seed(0)
    net = small.shaken(small.SMALL[name](16))
    with pytest.raises(FieldwrenError, match=rf"^{layer}: .*allocation\.make_plan can plan that"):
        _pruner(copy.deepcopy(net), criterion).step()
    assert planned(net, step(criterion=criterion, round_to=1)).cuts


class Excited(nn.Module):
    """Squeeze and excitation: two matrices without a norm, between convolutions with one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)
        self.down, self.up = nn.Linear(16, 8), nn.Linear(8, 16)
        self.last, self.classifier = nn.Linear(16, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.first(x)))
        y = y * self.up(F.relu(self.down(y.mean((2, 3)))))[..., None, None].sigmoid()
        logits: Tensor = self.classifier(F.relu(self.last(y.mean((2, 3)))))
        return logits


def test_all_groups_that_a_criterion_cannot_score_are_named_at_once() -> None:
    net = Excited().eval()
    said = r'of last, down \(bn_scale .*none\); keep = \["last", "down"\] leaves them whole$'
    with pytest.raises(FieldwrenError, match=said):
        planned(net, step(criterion="bn_scale", round_to=1))
    plan = planned(net, step(criterion="bn_scale", round_to=1, keep=("last", "down")))
    assert {cut.layer: len(cut.removed) for cut in plan.cuts} == {"up": 8}


def test_frozen_networks_can_be_planned() -> None:
    net = graphs.make("chain").requires_grad_(False)
    assert planned(net, step()).cuts
    assert not any(parameter.requires_grad for parameter in net.parameters())
