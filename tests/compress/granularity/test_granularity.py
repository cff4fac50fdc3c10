"""Grains and scores by hand; exact shares; zeros that stay zero through every way of training."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.granularity import GRAINS, masks, scores
from compress.statistics import Calibration
from models.resnet import ResNet


def _trained(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 4) -> None:
    net.train()
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(4, 3, 16, 16, generator=generator)
        loss = F.cross_entropy(net(x), torch.tensor([0, 1, 2, 3]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _convs(net: nn.Module) -> dict[str, nn.Module]:
    return {name: m for name, m in net.named_modules() if isinstance(m, nn.Conv2d)}


def _sparse(grain: str = "weight", sparsity: float = 0.7) -> tuple[nn.Module, dict[str, Tensor]]:
    torch.manual_seed(0)
    net = ResNet(8, 4, 8)
    layers = _convs(net)
    found = scores.magnitude(list(layers.values()))
    masks.zero(layers, found, GRAINS[grain], sparsity, "uniform")
    masks.hold(layers.values())
    return net, {name: layer.weight.detach() == 0 for name, layer in layers.items()}


def test_grains_by_hand() -> None:
    values = torch.arange(2 * 1 * 2 * 3, dtype=torch.float32).view(2, 1, 2, 3)
    assert torch.equal(GRAINS["weight"](values), values)
    assert GRAINS["vector"](values).flatten().tolist() == [1.0, 4.0, 7.0, 10.0]
    assert GRAINS["kernel"](values).flatten().tolist() == [2.5, 8.5]
    assert GRAINS["group"](values).flatten().tolist() == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    matrix = torch.rand(3, 4)
    assert all(torch.equal(GRAINS[n](matrix), matrix) for n in ("weight", "vector", "kernel"))
    torch.testing.assert_close(GRAINS["group"](matrix), matrix.mean(0, keepdim=True))


@pytest.mark.parametrize("grain", list(GRAINS))
def test_the_share_is_exact_and_grains_go_whole(grain: str) -> None:
    conv = nn.Conv2d(8, 10, 3)
    before = conv.weight.detach().clone()
    found = masks.zero({"it": conv}, scores.magnitude([conv]), GRAINS[grain], 0.75, "uniform")
    assert found["it"] == pytest.approx(0.75, abs=1e-6)
    kept = GRAINS[grain]((conv.weight.detach() != 0).float())
    assert set(kept.unique().tolist()) == {0.0, 1.0}  # all of a grain, or none of it
    strength = GRAINS[grain](before.abs())
    assert float(strength[kept == 0].max()) <= float(strength[kept == 1].min())


def test_a_global_ranking_spares_what_matters_but_empties_no_layer() -> None:
    strong, weak = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
    layers = {"strong": strong, "weak": weak}
    given = {strong: torch.rand(4, 4, 3, 3) + 10, weak: torch.rand(4, 4, 3, 3)}
    found = masks.zero(layers, given, GRAINS["weight"], 0.5, "global")
    assert found["weak"] == pytest.approx(1 - 1 / 144)
    assert found["strong"] == pytest.approx(1 / 144)  # in the place of the weak one's last


@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_equal_scores_are_shared_out_and_the_share_is_exact(scope: str) -> None:
    """Zeros of an earlier step tie, and so do all weights of a layer that starts constant."""
    small, large, lone = nn.Conv2d(2, 2, 5), nn.Conv2d(4, 5, 5), nn.Conv2d(1, 1, 1)
    layers = {"small": small, "large": large, "lone": lone}
    tied = {layer: torch.ones_like(layer.weight) for layer in layers.values()}
    found = masks.zero(layers, tied, GRAINS["weight"], 0.25, scope)  # type: ignore[arg-type]
    assert found == {"small": 0.25, "large": 0.25, "lone": 0.0}


def test_magnitudes_of_a_scaled_layer_are_the_same() -> None:
    conv = nn.Conv2d(4, 4, 3)
    before = scores.magnitude([conv])[conv]
    with torch.no_grad():
        conv.weight.mul_(100)
    torch.testing.assert_close(scores.magnitude([conv])[conv], before)


def test_influence_is_weight_times_gradient() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 4, 2))
    batch = (torch.randn(5, 3, 4, 4), torch.tensor([0, 1, 0, 1, 1]))

    def loss(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return F.cross_entropy(net(batch[0]), batch[1])

    W = net[0].weight
    (gradient,) = torch.autograd.grad(loss(net, batch), W)
    found = scores.influence([net[0]], Calibration(net, loss, [batch]))[net[0]]
    torch.testing.assert_close(found, 0.02 * (W * gradient).abs().detach())


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_zeros_stay_zero_and_the_rest_learns(kind: str) -> None:
    net, zeros = _sparse()
    before = copy.deepcopy(net.state_dict())
    if kind == "sgd":
        made: torch.optim.Optimizer = torch.optim.SGD(
            net.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
    else:
        made = torch.optim.AdamW(net.parameters(), 0.01, weight_decay=0.1)
    _trained(net, made)
    for name, layer in _convs(net).items():
        assert torch.equal(layer.weight == 0, zeros[name])
        assert not torch.equal(layer.weight, before[f"{name}.weight"])


def test_a_copy_and_a_reloaded_network_keep_their_zeros_too() -> None:
    net, zeros = _sparse("kernel")
    again = ResNet(8, 4, 8)
    masks.hold(_convs(again).values())
    again.load_state_dict(net.state_dict())
    for other in (copy.deepcopy(net), again):
        _trained(other, torch.optim.SGD(other.parameters(), 0.1, momentum=0.9))
        assert all(torch.equal(layer.weight == 0, zeros[n]) for n, layer in _convs(other).items())


def test_without_holding_zeros_come_back() -> None:
    """The check above can fail."""
    net, zeros = _sparse()
    loose = ResNet(8, 4, 8)
    loose.load_state_dict(net.state_dict())
    _trained(loose, torch.optim.SGD(loose.parameters(), 0.1))
    assert any(not torch.equal(m.weight == 0, zeros[n]) for n, m in _convs(loose).items())
