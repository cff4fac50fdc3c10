"""Removal against masking, cost against counting, cell by cell."""

import copy

import pytest
import torch

from compress import count
from compress.enas.cost import Geometry, Relative, Sum, macs
from compress.enas.extract import as_json, from_json, remove
from compress.enas.fake import FakePruning
from models.enas import Architecture, Edge, Enas, Node, Plan
from models.enas.narrow import narrow
from tests.compress.enas import children

TIMID, BOLD = (0.0, 0.1, 0.3), (0.5, 0.7, 0.8)  # timid: picking may cost more than is saved


def _trained(
    architecture: Architecture, layers: int, filters: int = 8, size: int = 16, images: int = 16
) -> Enas:
    """A child whose batch norms have seen something, their scales and shifts not those of birth."""
    torch.manual_seed(0)
    net = Enas(10, filters, layers, len(architecture.normal.nodes), architecture)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    net.train()(torch.randn(images, 3, size, size))
    return net.eval()


@pytest.mark.parametrize("ratios", [TIMID, BOLD], ids=["timid", "bold"])
@pytest.mark.parametrize("seed", range(4))
def test_masked_equals_removed(seed: int, ratios: tuple[float, ...]) -> None:
    architecture = children.drawn(seed, 4, ratios)
    net = _trained(architecture, layers=2)
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    fake = FakePruning()
    with torch.no_grad():
        faked = net(x, fake=fake)
    whole = count.macs(net, x[:1])
    geometry = Geometry.of(net, 16)
    expected = sum(one.macs for one in geometry.operators(architecture, fake.kept))
    assert sum(one.macs for one in geometry.operators(architecture, geometry.whole())) == whole
    assert remove(net, fake.kept, x) <= 1e-5
    with torch.no_grad():
        assert torch.allclose(net(x), faked, atol=1e-5)
    assert count.macs(net, x[:1]) == expected
    assert ratios is TIMID or expected < 0.6 * whole


def _removed(net: Enas, size: int) -> Enas:
    """The child after removal; what it costs was foreseen."""
    assert net.architecture is not None
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    fake = FakePruning()
    with torch.no_grad():
        net(x, fake=fake)
    operators = list(Geometry.of(net, size).operators(net.architecture, fake.kept))
    remove(net, fake.kept, x)
    assert count.macs(net, x[:1]) == sum(one.macs for one in operators)
    return net


def test_an_edge_pruned_inside_the_order_of_its_state_is_zero_there() -> None:
    """Both edges are one state: the left, whole, gives the order, the right lacks channel 1."""
    whole = Edge(input=1, operation="identity")
    normal = Plan(nodes=(Node(left=whole, right=whole.model_copy(update={"ratio": 1 / 16})),))
    separable = Edge(input=1, operation="sep3")
    reduction = Plan(nodes=(Node(left=separable, right=separable),))
    net = _trained(Architecture(normal=normal, reduction=reduction), 1, 4, size=8)
    last = net.cells[2]
    with torch.no_grad():
        last.base.norm.weight[1], last.base.norm.bias[1] = 0.01, 0.0
    fit = _removed(net, 8).cells[2].fits["0-right-identity-1"]
    assert fit.picks[:, :, 0, 0].diagonal().tolist() == [1.0, 0.0, *[1.0] * 14]
    assert not fit.before and not fit.after


# an edge is pruned inside its state's order: without a pick, removed and masked networks differ
@pytest.mark.parametrize("seed", [1, 6, 11])
def test_children_that_lose_little_are_removed(seed: int) -> None:
    _removed(_trained(children.drawn(seed, 5, (0.0, 0.1)), 1, size=8, images=4), 8)


def test_a_narrowed_child_still_trains() -> None:
    architecture = children.drawn(5, 3, BOLD)
    net = _trained(architecture, layers=1)
    x = torch.randn(8, 3, 16, 16)
    fake = FakePruning()
    with torch.no_grad():
        net(x, fake=fake)
    narrow(net, from_json(as_json(fake.kept)))
    net.train()(x).square().mean().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    again = copy.deepcopy(net)
    again.load_state_dict(net.state_dict())


def test_the_published_cells_have_the_published_size() -> None:
    """ENAS's final form: 78 k parameters and 13.6 M multiply-accumulates at F = 8, L = 3."""
    net = Enas(10, 8, 3, 5, children.published()).eval()
    assert count.parameters(net) == 78_258
    assert count.macs(net, torch.zeros(1, 3, 32, 32)) == 13_559_360


def test_the_space_computes_what_a_child_with_its_weights_does() -> None:
    """Only the sampled path runs: its weights, copied, are the whole child."""
    architecture = children.drawn(2, 3, (0.0,))
    torch.manual_seed(0)
    space, child = Enas(10, 4, 2, 3), Enas(10, 4, 2, 3, architecture)
    shared = space.state_dict()
    own = child.state_dict()
    for name, value in own.items():
        if name in shared and shared[name].shape == value.shape:
            own[name] = shared[name]
        elif name in shared:  # a reader of joined states: the columns of those that are loose
            layer = int(name.split(".")[1]) if name.startswith("cells") else 4
            before = layer - (2 if ".first." in name else 1)
            plan = architecture.plans[before in space.reductions]
            weight = shared[name].unflatten(1, (5, -1))[:, list(plan.loose)]
            own[name] = weight.flatten(1, 2)
    child.load_state_dict(own)
    x = torch.randn(6, 3, 16, 16)
    one, other = space.train()(x, architecture), child.train()(x)
    assert torch.allclose(one, other, atol=1e-5)
    one.sum().backward()
    used = {name for name, parameter in space.named_parameters() if parameter.grad is not None}
    assert used == set(dict(child.named_parameters()))


def test_ratio_is_the_sum_or_what_is_saved() -> None:
    architecture = children.drawn(3, 2, (0.5,))
    net = Enas(10, 4, 1, 2, architecture)
    geometry = Geometry.of(net, 16)
    cost = Relative.of(geometry, macs)
    assert Sum().ratio(architecture, {}) == pytest.approx(0.5 * 12)
    assert cost.ratio(geometry.dearest, geometry.whole()) == pytest.approx(0.0)
    whole = cost.ratio(architecture, geometry.whole())
    spent = sum(one.macs for one in geometry.operators(architecture, geometry.whole()))
    assert whole == pytest.approx(12 * (1 - spent / cost.dearest))
